"""Every shape of user id that a client may make: what was made can be reached by any client."""

import json
import re
import string
from urllib.parse import urljoin, urlsplit

import pytest
from django.test import Client
from django.urls import get_resolver

from activity.documents import ActivityEvent
from config.web.user_ids import NEW_USER_ID_PATTERN, RESERVED_USER_IDS
from profiles import limits
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from tests.builders import make_event

pytestmark = pytest.mark.django_db(transaction=True)


def segments() -> set[str]:
    """Return every literal word that a path of the site has; a user may be called like it."""
    routes = [
        pattern
        for entries in get_resolver().reverse_dict.lists()
        for possibilities in entries[1]
        for pattern, _ in possibilities[0]
    ]
    words = {part for route in routes for part in route.split("/")}
    return {word for word in words if re.fullmatch("[A-Za-z0-9._@:-]{1,128}", word)}


SHAPES = [
    *string.ascii_letters[::13],
    *"0._@:-",
    *("..", "...", "....", ".a", "a.", "a..b", "-a", "--", "_", "::", "a:b", "a@b.c", "@a"),
    *("http:", "A", "0" * 128, "x" * 128, "." * 128, "null", "undefined", "None", "me", "demo"),
    *("index.html", "favicon.ico", "robots.txt", "a.json", "a-b_c.d@e:f"),
]


@pytest.fixture(autouse=True)
def _empty(transactional_db) -> None:
    UserProfile.ensure_indexes()
    ActivityEvent.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    ActivityEvent._get_collection().delete_many({})
    ProfileRow.objects.all().delete()


class User:
    """A client like any other: it resolves dot segments away before it asks (RFC 3986, 5.2.4)."""

    def __init__(self, user_id: str) -> None:
        self._client = Client(headers={"X-User-Id": user_id}, raise_request_exception=False)

    def call(self, method: str, path: str, body: object = None):
        parts = urlsplit(urljoin("http://testserver", f"/api/v1/{path}"))
        target = f"{parts.path}?{parts.query}"
        return self._client.generic(method, target, json.dumps(body), "application/json")


def refused(response, user_id: str) -> bool:
    if response.status_code != 400:
        return False
    [error] = response.json()["errors"]
    assert error == {**error, "code": "reserved", "message": f"{user_id} is reserved."}
    return True


@pytest.mark.parametrize("user_id", sorted({*SHAPES, *segments()}))
def test_an_id_that_is_not_reserved_can_be_reached(user_id):
    user = User(user_id)
    profile = {"user_id": user_id, "email": "x@example.org", "preferences": {"of": user_id}}
    created = user.call("POST", "profiles", profile)
    if refused(created, user_id):
        assert user_id in limits.RESERVED_USER_IDS
    else:
        assert created.status_code == 201
        assert urlsplit(created["Location"]).path == f"/api/v1/profiles/{user_id}"
        for path in (user_id, f"mongo/{user_id}", f"postgres/{user_id}"):
            assert user.call("GET", f"profiles/{path}").json() == created.json(), path
        patched = user.call("PATCH", f"profiles/{user_id}/preferences", {"of": "all"})
        assert patched.json()["user_id"] == user_id
        replacement = {"email": "y@example.org", "preferences": {}}
        assert user.call("PUT", f"profiles/{user_id}", replacement).json()["version"] == 3
        assert user.call("DELETE", f"profiles/{user_id}").status_code == 204

    note = user.call("POST", "notes", {"title": "A title"})
    if refused(note, user_id):
        assert user_id in RESERVED_USER_IDS
        return
    [stored] = user.call("GET", f"notes?userId={user_id}").json()["results"]
    assert stored == note.json()
    make_event(user_id=user_id)
    make_event(user_id="another")
    [event] = user.call("GET", f"activity/{user_id}").json()["results"]
    assert event["user_id"] == user_id
    for part in ("summary", "daily"):
        [row] = user.call("GET", f"activity/{user_id}/{part}").json()["results"]
        assert (row["action"], row["count"]) == ("note_viewed", 1)


class TestReserved:
    def test_whoever_may_not_call_has_no_profile_either(self):
        assert set(RESERVED_USER_IDS) < set(limits.RESERVED_USER_IDS)

    def test_no_pattern_matches_one(self):
        assert not [
            user_id for user_id in RESERVED_USER_IDS if re.search(NEW_USER_ID_PATTERN, user_id)
        ]
        assert not [
            user_id
            for user_id in limits.RESERVED_USER_IDS
            if re.search(limits.NEW_USER_ID_PATTERN, user_id)
        ]

    @pytest.mark.parametrize("user_id", limits.RESERVED_USER_IDS)
    def test_neither_may_staff_create_their_profiles(self, settings, user_id):
        settings.ADMIN_TOKEN = "a token that only staff has"
        staff = Client(headers={"Authorization": f"Bearer {settings.ADMIN_TOKEN}"})
        body = json.dumps({"user_id": user_id, "email": "x@example.org"})

        response = staff.post("/api/v1/profiles", body, "application/json")

        assert refused(response, user_id)
