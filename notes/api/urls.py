"""Paths of the notes endpoints."""

from django.urls import path

from notes.api.views import NoteListView, NoteView

urlpatterns = [
    path("notes", NoteListView.as_view(), name="notes"),
    path("notes/<str:note_id>", NoteView.as_view(), name="note"),
]
