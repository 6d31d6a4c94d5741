"""The Activity page of the admin: charts of the last 30 days, and the events, newest first."""

import dataclasses
import json
from typing import Any, Final
from urllib.parse import parse_qs

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from pymongo.errors import PyMongoError

from activity import analytics, selectors, services
from activity.admin.filters import EventFilters
from activity.models import Event
from activity.paging import position_of
from config.web.admin_pages import ReadOnlyPage, mistakes, silence
from config.web.paging import CursorRejected

CHART_DAYS: Final = 30


@admin.register(Event)
class EventAdmin(ReadOnlyPage):
    """Events, shown in place of the admin's list of table rows."""

    template = "admin/activity/activity.html"

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        """Return one page of the filtered events; without filters, the charts as well."""
        form = EventFilters(request.GET, label_suffix="")
        context = {
            "title": "Activity",
            "form": form,
            "days": CHART_DAYS,
            **_listed(request, form),
            **_spool(),
        }
        if any(request.GET.values()):
            return context  # the charts show all events, and counting a month of them takes a while
        return {**context, **_trend()}


def _listed(request: HttpRequest, form: EventFilters) -> dict[str, Any]:
    """Return the events, and the query strings of the adjacent pages; or the errors of the form."""
    if not form.is_valid():
        return {"errors": mistakes(form)}
    query = form.query()
    try:
        position = position_of(request.GET.get("cursor", ""), query=query)
        page = selectors.feed(query=dataclasses.replace(query, position=position))
    except CursorRejected as exc:
        return {"errors": [("cursor", f"{exc}.")]}
    except PyMongoError as exc:
        return {"errors": [("events", silence(exc))]}
    return {
        # Times in the format of a browser's field, whatever format they were typed in.
        "form": EventFilters(initial=form.cleaned_data, label_suffix=""),
        "events": [_formatted(event) for event in page.events],
        "older": _query_string(request, page.next_query),
        "newer": _query_string(request, page.previous_query),
        "first": _query_string(request, ""),
        "is_filtered": any(form.cleaned_data.values()),
    }


def _spool() -> dict[str, Any]:
    try:
        return {"spool": services.spool_state(), "spool_problem": services.spool_problem()}
    except OSError as exc:
        return {"spool_problem": f"the spool cannot be read: {exc.strerror}"}


def _query_string(request: HttpRequest, adjacent: str | None) -> str | None:
    """Return the query string of this page with the cursor of an adjacent one."""
    if adjacent is None:
        return None
    parameters = request.GET.copy()
    parameters.pop("cursor", None)
    for cursor in parse_qs(adjacent).get("cursor", []):
        parameters["cursor"] = cursor
    return parameters.urlencode()


def _trend() -> dict[str, Any]:
    try:
        trend = analytics.trend(days=CHART_DAYS, now=timezone.now())
    except analytics.TooMuchToCount:
        return {"chart_error": f"There are too many users in {CHART_DAYS} days to count them here."}
    except PyMongoError as exc:
        return {"chart_error": silence(exc)}
    events_by_day = [day["total_activities"] for day in trend]
    return {
        "trend": trend,
        "dates": [day["date"] for day in trend],
        "events_by_day": events_by_day,
        "users_by_day": [day["unique_users"] for day in trend],
        "total": sum(events_by_day),
    }


def _formatted(event: selectors.Event) -> dict[str, Any]:
    """Return the event with its time and details formatted for people."""
    details = json.dumps(event["details"], indent=2, ensure_ascii=False, default=str)
    time = event["timestamp"].replace("T", " ").removesuffix("Z")
    return {**event, "timestamp": time, "details": details}
