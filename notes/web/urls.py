"""The routes of the pages; / is the list."""

from django.urls import path

from notes.web import views

urlpatterns = [
    path("", views.ListPage.as_view(), name="home"),
    path("user", views.ChooseUser.as_view(), name="page-user"),
    path("notes/new", views.NewPage.as_view(), name="page-new"),
    path("notes/<uuid:note_id>", views.NotePage.as_view(), name="page"),
    path("notes/<uuid:note_id>/edit", views.EditPage.as_view(), name="page-edit"),
    path("notes/<uuid:note_id>/delete", views.DeletePage.as_view(), name="page-delete"),
]
