"""Paths of the activity endpoints; those with a word of their own before any user's."""

from django.urls import path

from activity.api import views

urlpatterns = [
    path("activity/recent", views.RecentView.as_view(), name="activity-recent"),
    path("activity/trend", views.TrendView.as_view(), name="activity-trend"),
    path("activity/insights/resources", views.ResourcesView.as_view(), name="activity-resources"),
    path("activity/insights/hours", views.HoursView.as_view(), name="activity-hours"),
    path("activity/insights/retention", views.RetentionView.as_view(), name="activity-retention"),
    path("activity/<str:user_id>", views.FeedView.as_view(), name="activity-feed"),
    path("activity/<str:user_id>/summary", views.SummaryView.as_view(), name="activity-summary"),
    path("activity/<str:user_id>/daily", views.DailyView.as_view(), name="activity-daily"),
]
