"""Profiles in either store, empty before each test."""

import json

import pytest
from django.test import Client

from cachelayer.models import OutboxRow
from profiles.documents import UserProfile
from profiles.models import ProfileRow


@pytest.fixture(scope="module")  # another module drops the collections
def _mongodb_indexes() -> None:
    # Recreated: a malformed document with a list may have made an index multikey, which changes plans.
    UserProfile._get_collection().drop_indexes()
    UserProfile.ensure_indexes()


@pytest.fixture(autouse=True)
def _no_profiles(_mongodb_indexes, transactional_db) -> None:
    UserProfile._get_collection().delete_many({})
    ProfileRow.objects.all().delete()
    OutboxRow.objects.all().delete()  # emptying the tables fired the triggers


@pytest.fixture(params=["mongo", "postgres"])
def backend(request, settings) -> str:
    """Each test that asks for it runs on both stores."""
    settings.PROFILE_BACKEND = request.param
    return request.param


@pytest.fixture
def send():
    """Send a body as JSON; the caller is abc unless said otherwise."""

    def sent(method: str, path: str, body: object = None, *, user: str = "abc", **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = named.pop("Content-Type", "application/json")
        data = body if isinstance(body, bytes) else json.dumps(body)
        client = Client(headers={"X-User-Id": user}, raise_request_exception=False)
        return client.generic(method, f"/api/v1/profiles{path}", data, kind, headers=named)

    return sent


@pytest.fixture
def made(send):
    """Create abc's profile; return what was answered."""

    def create(user: str = "abc", **changes: object) -> dict:
        body = {"user_id": user, "email": f"{user}@example.org"} | changes
        response = send("POST", "", body, user=user)
        assert response.status_code == 201, response.content
        return response.json()

    return create
