"""The activity endpoints: parse, one domain call, present. Nothing here is cached."""

from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from activity import analytics, selectors
from activity.actions import ACTIONS, RESOURCES
from activity.api import query, serializers
from activity.paging import DEFAULT_LIMIT, MAX_LIMIT
from activity.time_window import MOMENT_PATTERN, Window
from config.web import paging
from config.web.openapi import CURSOR_PATTERN, LINK, USER_ID_IN_PATH
from config.web.views import View

_LIMIT: Final = OpenApiParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
)
_MOMENT: Final = {"type": "string", "pattern": MOMENT_PATTERN}
_WINDOW: Final = [
    OpenApiParameter(
        "since", _MOMENT, description="From this time, or the beginning of this day in UTC, on."
    ),
    OpenApiParameter(
        "until", _MOMENT, description="Before this time, or the beginning of this day in UTC."
    ),
]


class UncachedView(View):
    """An endpoint whose responses are never cached."""

    window_parameters: tuple[str, ...] = ("since", "until")

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, analytics.TooMuchToCount):
            detail = [ErrorDetail(str(exc), "out_of_range")]
            exc = ValidationError(dict.fromkeys(self.window_parameters, detail))
        return super().handle_exception(exc)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final.headers["Cache-Control"] = "no-store"
        return final


class RecentView(UncachedView):
    """The newest events."""

    readers = "staff"

    @extend_schema(
        operation_id="activity_recent",
        parameters=[_LIMIT],
        responses={200: serializers.EventList},
    )
    def get(self, request: Request) -> Response:
        """List the newest events over all users, newest first."""
        limit = query.parse_limit(request.query_params)
        return Response({"results": selectors.recent(limit=limit)})


class FeedView(UncachedView):
    """One user's events."""

    readers = "its user"

    @extend_schema(
        operation_id="activity_feed",
        parameters=[
            USER_ID_IN_PATH,
            OpenApiParameter("action", str, enum=sorted(ACTIONS)),
            OpenApiParameter("resource", str, enum=sorted(RESOURCES)),
            *_WINDOW,
            _LIMIT,
            OpenApiParameter(
                "cursor",
                {"type": "string", "pattern": CURSOR_PATTERN},
                description="What next and previous carry, with the same filters.",
            ),
            LINK,
        ],
        responses={200: serializers.EventPage},
    )
    def get(self, request: Request, user_id: str) -> Response:
        """List a user's events, newest first; empty for a user of whom nothing is known."""
        requested = query.parse_feed(user_id, request.query_params)
        page = selectors.feed(query=requested)
        links = paging.links(
            request, next_query=page.next_query, previous_query=page.previous_query
        )
        header = paging.link_header(links)
        return Response(
            {"results": page.events, "limit": requested.limit, **links},
            headers={"Link": header} if header else None,
        )


class SummaryView(UncachedView):
    """One user's events, counted by action."""

    readers = "its user"

    @extend_schema(
        operation_id="activity_summary",
        parameters=[USER_ID_IN_PATH, *_WINDOW],
        responses={200: serializers.ActivitySummary},
    )
    def get(self, request: Request, user_id: str) -> Response:
        """Count a user's events by action, most frequent first."""
        window = query.parse_user_window(user_id, request.query_params)
        return Response({"results": analytics.summary(user_id=user_id, window=window)})


class DailyView(UncachedView):
    """One user's events, counted by day and action."""

    readers = "its user"

    @extend_schema(
        operation_id="activity_daily",
        parameters=[USER_ID_IN_PATH, *_WINDOW],
        responses={200: serializers.ActivityDaily},
    )
    def get(self, request: Request, user_id: str) -> Response:
        """Count a user's events by day and action: newest day first, then by count, at most 30."""
        window = query.parse_user_window(user_id, request.query_params)
        return Response({"results": analytics.daily(user_id=user_id, window=window)})


class TrendView(UncachedView):
    """The days."""

    window_parameters = ("days",)

    @extend_schema(
        operation_id="activity_trend",
        parameters=[
            OpenApiParameter(
                "days",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": query.MAX_DAYS,
                    "default": query.DEFAULT_DAYS,
                },
            )
        ],
        responses={200: serializers.ActivityTrend},
    )
    def get(self, request: Request) -> Response:
        """Count events and users of each of the last days in UTC, today included, oldest first."""
        days = query.parse_days(request.query_params)
        return Response({"results": analytics.trend(days=days, now=timezone.now())})


class ResourcesView(UncachedView):
    """What was used most."""

    readers = "staff"

    @extend_schema(
        operation_id="activity_insights_resources",
        parameters=[*_WINDOW, _LIMIT],
        responses={200: serializers.ActivityResources},
    )
    def get(self, request: Request) -> Response:
        """List the notes and profiles with the most events, by default of the last 30 days."""
        since, until, limit = query.parse_insight(
            request.query_params, now=timezone.now(), takes_limit=True
        )
        window = Window(since=since, until=until)
        return Response({"results": analytics.resources(window=window, limit=limit)})


class HoursView(UncachedView):
    """The hours of the week."""

    @extend_schema(
        operation_id="activity_insights_hours",
        parameters=_WINDOW,
        responses={200: serializers.ActivityHours},
    )
    def get(self, request: Request) -> Response:
        """Count events by weekday and hour in UTC, by default of the last 30 days."""
        since, until, _ = query.parse_insight(request.query_params, now=timezone.now())
        return Response({"results": analytics.hours(window=Window(since=since, until=until))})


class RetentionView(UncachedView):
    """The weeks and who came back."""

    @extend_schema(
        operation_id="activity_insights_retention",
        parameters=_WINDOW,
        responses={200: serializers.ActivityRetention},
    )
    def get(self, request: Request) -> Response:
        """Count the users first active in each week, and those active again in the weeks after it."""
        since, until, _ = query.parse_insight(request.query_params, now=timezone.now())
        return Response({"results": analytics.retention(since=since, until=until)})
