"""One user's way through the service, over HTTP and across the three stores."""

import json

import pytest

from activity import services
from activity.documents import ActivityEvent
from activity.shipper import Shipper
from profiles.documents import UserProfile
from profiles.models import ProfileRow

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty(transactional_db) -> None:
    UserProfile.ensure_indexes()
    ActivityEvent.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    ActivityEvent._get_collection().delete_many({})
    ProfileRow.objects.all().delete()


@pytest.fixture
def call(api):
    def called(method: str, path: str, body: object = None):
        return api.generic(method, f"/api/v1/{path}", json.dumps(body), "application/json")

    return called


def test_what_a_user_does_is_cached_invalidated_and_told_in_the_feed(call):
    call("POST", "profiles", {"user_id": "abc", "email": "abc@example.org"})
    note = call("POST", "notes", {"title": "First"}).json()["id"]
    assert call("GET", f"notes/{note}")["Cache-Status"] == "trilith; fwd=uri-miss; stored"
    assert "hit" in call("GET", f"notes/{note}")["Cache-Status"]
    assert call("GET", "notes?userId=abc").json()["count"] == 1

    call("PATCH", f"notes/{note}", {"title": "Second"})
    call("PATCH", "profiles/abc/preferences", {"theme": "dark"})

    assert call("GET", f"notes/{note}").json()["title"] == "Second"
    assert call("GET", "notes?userId=abc").json()["results"][0]["title"] == "Second"
    assert call("GET", "profiles/abc").json()["preferences"]["theme"] == "dark"
    assert call("GET", "profiles/postgres/abc").json() == call("GET", "profiles/mongo/abc").json()
    call("DELETE", f"notes/{note}")
    assert call("GET", f"notes/{note}").status_code == 404

    Shipper(services.own_spool()).ship()
    feed = call("GET", "activity/abc?limit=100").json()["results"]
    assert [event["action"] for event in reversed(feed)] == [
        *("profile_created", "note_created", "note_viewed", "note_viewed", "notes_listed"),
        *("note_updated", "preferences_updated", "note_viewed", "notes_listed"),
        *("profile_viewed", "profile_viewed", "profile_viewed", "note_deleted"),
    ]
    assert {event["resource_id"] for event in feed if event["action"].startswith("note_")} == {note}
    summary = call("GET", "activity/abc/summary").json()["results"]
    assert summary[0]["count"] == 3
    assert {row["action"]: row["count"] for row in summary}["notes_listed"] == 2
    (today,) = call("GET", "activity/trend?days=1").json()["results"]
    assert (today["total_activities"], today["unique_users"]) == (13, 1)
