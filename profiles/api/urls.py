"""Paths of the profiles endpoints."""

from django.urls import path

from profiles.api.views import PreferencesView, ProfileListView, ProfileOfStoreView, ProfileView

urlpatterns = [
    path("profiles", ProfileListView.as_view(), name="profiles"),
    # Before a user's own: mongo and postgres are no user ids.
    path(
        "profiles/mongo/<str:user_id>",
        ProfileOfStoreView.as_view(store="mongo"),
        name="profile-mongo",
    ),
    path(
        "profiles/postgres/<str:user_id>",
        ProfileOfStoreView.as_view(store="postgres"),
        name="profile-postgres",
    ),
    path("profiles/<str:user_id>", ProfileView.as_view(), name="profile"),
    path("profiles/<str:user_id>/preferences", PreferencesView.as_view(), name="preferences"),
]
