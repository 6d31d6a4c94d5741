"""Paths of the notes endpoints."""

from django.urls import path

from notes.api.bulk import BulkCreateView, BulkDeleteView
from notes.api.views import NoteListView, NoteView

urlpatterns = [
    path("notes", NoteListView.as_view(), name="notes"),
    path("notes/bulk", BulkCreateView.as_view(), name="notes-bulk-create"),
    path("notes/bulk/delete", BulkDeleteView.as_view(), name="notes-bulk-delete"),
    path("notes/<str:note_id>", NoteView.as_view(), name="note"),
]
