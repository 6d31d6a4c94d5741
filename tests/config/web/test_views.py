"""The base view of cached reads: who may read, how often, and that nothing is done twice."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.throttling import BaseThrottle

from cachelayer import protocol
from config.web.authentication import UserIdAuthentication
from notes.api import query
from notes.api.views import NoteListView, NoteView
from tests.builders import make_note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


class TwoRequests(BaseThrottle):
    """Let two requests through, as a budget that each request draws on once."""

    served = 0

    def allow_request(self, request, view):
        type(self).served += 1
        return self.served <= 2

    def wait(self):
        return 30.0


class CountedAuthentication(UserIdAuthentication):
    calls = 0

    def authenticate(self, request):
        type(self).calls += 1
        return super().authenticate(request)


class StaffNoteView(NoteView):
    permission_classes = [IsAdminUser]


class ThrottledNoteView(NoteView):
    throttle_classes = [TwoRequests]


class SessionNoteView(NoteView):
    authentication_classes = [SessionAuthentication]


class MembersNoteView(SessionNoteView):
    permission_classes = [IsAuthenticated]


class CountedListView(NoteListView):
    authentication_classes = [CountedAuthentication]


urlpatterns = [
    path("api/v1/notes", CountedListView.as_view()),
    path("api/v1/notes/<str:note_id>", NoteView.as_view()),
    path("staff/<str:note_id>", StaffNoteView.as_view()),
    path("throttled/<str:note_id>", ThrottledNoteView.as_view()),
    path("session/<str:note_id>", SessionNoteView.as_view()),
    path("members/<str:note_id>", MembersNoteView.as_view()),
]


@pytest.fixture
def note_id(api) -> str:
    """A note of which a fresh copy is cached."""
    note_id = make_note()
    api.get(f"/api/v1/notes/{note_id}")
    assert "hit" in api.get(f"/api/v1/notes/{note_id}")["Cache-Status"]
    return str(note_id)


@pytest.fixture
def member(api):
    user = get_user_model().objects.create_user("member")
    api.force_login(user)
    return user


class TestPermissions:
    def test_one_that_denies_holds_on_a_hit(self, api, note_id):
        response = api.get(f"/staff/{note_id}")

        assert response.status_code == 403
        assert "Cache-Status" not in response

    def test_one_that_denies_holds_for_a_client_that_has_the_copy(self, api, note_id):
        etag = api.get(f"/api/v1/notes/{note_id}")["ETag"]

        assert api.get(f"/staff/{note_id}", headers={"If-None-Match": etag}).status_code == 403

    def test_without_a_session_a_hit_is_for_nobody(self, api, note_id):
        assert api.get(f"/members/{note_id}").status_code == 403

    def test_one_that_admits_leaves_the_hit(self, api, note_id, member):
        response = api.get(f"/members/{note_id}")

        assert response.status_code == 200
        assert response["Cache-Status"].startswith("trilith; hit")


class TestThrottles:
    def test_a_hit_counts_once_and_is_refused_past_the_rate(self, api, note_id, monkeypatch):
        monkeypatch.setattr(TwoRequests, "served", 0)

        replies = [api.get(f"/throttled/{note_id}") for _ in range(3)]

        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert replies[2]["Retry-After"] == "30"

    def test_a_miss_counts_once(self, api, monkeypatch):
        monkeypatch.setattr(TwoRequests, "served", 0)

        reply = api.get(f"/throttled/{make_note()}")

        assert "miss" in reply["Cache-Status"]
        assert TwoRequests.served == 1


class TestAuthentication:
    def test_an_authenticator_without_an_opinion_leaves_the_hit(self, api, note_id):
        response = api.get(f"/session/{note_id}")

        assert response.status_code == 200
        assert response["Cache-Status"].startswith("trilith; hit")

    def test_a_hit_has_the_same_caller_as_a_miss(self, api, note_id, member):
        on_hit = api.get(f"/session/{note_id}")
        on_miss = api.get(f"/session/{make_note()}")

        assert on_hit.wsgi_request.user == on_miss.wsgi_request.user == member


class TestOnce:
    """A read is authenticated, parsed and looked for once, whether it hits or not."""

    @pytest.fixture
    def steps(self, monkeypatch) -> list[str]:
        steps: list[str] = []

        def recorded(name, function):
            def run(*args, **kwargs):
                steps.append(name)
                return function(*args, **kwargs)

            return run

        authenticate = recorded("authenticate", UserIdAuthentication.authenticate)
        monkeypatch.setattr(CountedAuthentication, "authenticate", authenticate)
        monkeypatch.setattr(query, "parse_list", recorded("parse", query.parse_list))
        monkeypatch.setattr(protocol, "look", recorded("look", protocol.look))
        return steps

    def test_on_a_miss_and_on_a_hit(self, api, steps):
        replies = [api.get("/api/v1/notes?page=1")["Cache-Status"] for _ in range(2)]

        assert replies[0] == "trilith; fwd=uri-miss; stored"
        assert replies[1].startswith("trilith; hit")
        assert steps == ["authenticate", "parse", "look"] * 2

    def test_while_redis_is_silent(self, api, steps, stack):
        stack.pause("redis")
        try:
            reply = api.get("/api/v1/notes")
        finally:
            stack.resume("redis")

        assert "cache-down" in reply["Cache-Status"]
        assert steps == ["authenticate", "parse", "look"]

    def test_where_the_query_is_refused(self, api, steps):
        assert api.get("/api/v1/notes?page=x").status_code == 400
        assert steps == ["authenticate", "parse"]
