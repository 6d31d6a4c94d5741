"""The edge: what it answers, what it leaves to Django, and what it does besides on a hit."""

import ast
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.http.request import HttpHeaders
from django.urls import include, path
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.throttling import BaseThrottle
from structlog.testing import capture_logs

from activity import metrics as activity_metrics
from activity import spool
from activity.middleware import UNRECORDED
from cachelayer import counts, first_level, popularity, prometheus, slots
from cachelayer.invalidation import invalidate
from cachelayer.single_flight import Flight
from config.observability import capped_list, traces
from config.stack import ROOT
from config.stack.process import wait_until
from config.urls import urlpatterns as site_urls
from config.web.authentication import UserIdAuthentication
from config.web.callers import identity_of_settings
from config.web.edge import UNDERSTOOD, UNUSUAL, Edge
from config.web.reuse import Scope
from notes.api.views import NoteView
from profiles import services as profiles
from tests.activity.test_middleware import events
from tests.builders import make_note, make_notes
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.leases import without_lease
from tests.wsgi import Site, environ_of, reply_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("level_on"),
]


class Throttle(BaseThrottle):
    def allow_request(self, request, view):
        return True


class OwnAuthentication(UserIdAuthentication):
    pass


class PermittedView(NoteView):
    permission_classes = [AllowAny]


class ThrottledView(NoteView):
    throttle_classes = [Throttle]


class SessionView(NoteView):
    authentication_classes = [SessionAuthentication]


class OwnAuthenticationView(NoteView):
    authentication_classes = [OwnAuthentication]


class GatedView(NoteView):
    def check_permissions(self, request):
        super().check_permissions(request)


class CookieView(NoteView):
    def get(self, request, note_id):
        response = super().get(request, note_id)
        response.set_cookie("seen", "yes")
        return response


class VaryingView(NoteView):
    def get(self, request, note_id):
        response = super().get(request, note_id)
        response.headers["Vary"] = "X-User-Id"
        return response


class PrivateView(NoteView):
    def get(self, request, note_id):
        response = super().get(request, note_id)
        response.headers["Cache-Control"] = "private, no-store"
        return response


class DeclaredView(PermittedView):
    reuse_scope = Scope.EVERYONE


class CallersView(VaryingView):
    reuse_scope = Scope.CALLER


NOT_REUSED = {
    "permitted": PermittedView.as_view(),
    "permitted-by-route": NoteView.as_view(permission_classes=[AllowAny]),
    "throttled": ThrottledView.as_view(),
    "session": SessionView.as_view(),
    "own-authentication": OwnAuthenticationView.as_view(),
    "gated": GatedView.as_view(),
    "cookie": CookieView.as_view(),
    "varying": VaryingView.as_view(),
    "private": PrivateView.as_view(),
}
urlpatterns = [
    path("", include((site_urls, "site"))),
    path("declared/<str:note_id>", DeclaredView.as_view()),
    path("callers/<str:note_id>", CallersView.as_view()),
    *(path(f"{name}/<str:note_id>", view) for name, view in NOT_REUSED.items()),
]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def note(site) -> str:
    """The target of a note whose reply the edge has."""
    target = f"/api/v1/notes/{make_note()}"
    # The lease, or the listener's, may have lapsed for a moment on a busy machine.
    assert wait_until(lambda: is_hit(site, target), 10)
    site.passed = 1  # however many it took
    return target


def is_hit(site: Site, target: str, **headers: str) -> bool:
    """Whether the edge answers a GET by itself."""
    passed = site.passed
    reply = site.send("GET", target, **headers)
    assert reply.status in (200, 304)
    return site.passed == passed


class HeldSite(Site):
    """A site whose requests past the edge wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.go_on.set()

    def _pass(self, environ, start_response):
        answer = super()._pass(environ, start_response)
        assert self.go_on.wait(30)
        return answer


class TestWaiting:
    """Requests for a copy that was invalidated, of which one goes on to Django."""

    @pytest.fixture
    def site(self) -> HeldSite:
        return HeldSite()

    @pytest.fixture
    def replies(self, site, note, monkeypatch):
        """Send so many GETs at once after an invalidation; return the replies once all have come."""
        waiting = []
        real = Flight.wait
        monkeypatch.setattr(
            Flight, "wait", lambda flight, seconds: waiting.append(1) or real(flight, 30)
        )

        def replies(number, *, meanwhile=lambda: None, headers=None):
            slots.overwrite([f"note:{note.rpartition('/')[2]}"])
            site.go_on.clear()
            with ThreadPoolExecutor(number) as pool:
                sent = [pool.submit(site.send, "GET", note, **headers or {}) for _ in range(number)]
                assert wait_until(lambda: len(waiting) == number - 1, 30)
                meanwhile()
                site.go_on.set()
                return [each.result(30) for each in sent]

        return replies

    def test_take_the_copy_that_the_first_has_brought(self, site, note, replies):
        invalidate(f"note:{note.rpartition('/')[2]}")
        loaded, *others = sorted((reply["Cache-Status"] for reply in replies(6)), key=len)

        assert site.passed == 2  # with that of the fixture
        assert loaded == "trilith; fwd=uri-miss; stored"
        assert others == ["trilith; fwd=uri-miss; collapsed; stored"] * 5
        assert is_hit(site, note)
        assert "; detail=L1" in site.send("GET", note)["Cache-Status"]

    def test_say_that_they_hit_where_the_first_did_in_redis(self, site, note, replies):
        first, *others = sorted((reply["Cache-Status"] for reply in replies(3)), key=len)

        assert site.passed == 2
        assert re.fullmatch(r"trilith; hit; ttl=\d+", first)
        assert all(re.fullmatch(r"trilith; hit; ttl=\d+; detail=L1", other) for other in others)

    def test_get_a_304_where_they_have_what_it_brought(self, site, note, replies):
        etag = site.send("GET", note)["ETag"]
        answers = replies(3, headers={"If_None_Match": etag})

        assert [(reply.status, reply.body) for reply in answers] == [(304, b"")] * 3

    def test_take_nothing_that_was_written_meanwhile(self, site, note, replies):
        title = b'{"title": "Newer"}'
        first, *others = (
            json.loads(reply.body)["title"]
            for reply in sorted(
                replies(
                    4,
                    meanwhile=lambda: site.send_past_edge(
                        "PATCH", note, title, Content_Type="application/json", X_User_Id="abc"
                    ),
                ),
                key=lambda reply: b"Newer" in reply.body,
            )
        )

        assert (first == "Newer", set(others)) == (False, {"Newer"})

    def test_are_woken_by_an_error_and_go_on_themselves(self, site, note, replies):
        django = site._django
        failing = threading.Event()

        def fail(environ, start_response):
            assert failing.wait(30)
            site._django = django
            raise OSError("no thread")

        def let_it_fail():
            failing.set()
            # Only then is any of them done, whose copy the others would take.
            assert wait_until(lambda: site.passed == 5, 30)

        site._django = fail
        with pytest.raises(OSError, match="no thread"):
            replies(4, meanwhile=let_it_fail)

        assert site.passed == 5

    def test_are_not_kept_waiting_for_what_is_not_cached(self, site, note, replies):
        site.send_past_edge("DELETE", note, X_User_Id="abc")
        statuses = [reply.status for reply in replies(4)]

        assert statuses == [404] * 4
        assert site.passed == 5
        assert site.send("GET", note).status == 404

    def test_are_not_kept_waiting_for_what_is_too_old_to_be_kept(
        self, site, note, replies, monkeypatch
    ):
        monkeypatch.setattr(first_level.Copies, "put", lambda *arguments: False)
        statuses = [reply.status for reply in replies(4)]

        assert (statuses, site.passed) == ([200] * 4, 5)

    def test_go_on_where_it_takes_too_long(self, site, note, monkeypatch):
        monkeypatch.setattr("config.web.edge._WAIT_SECONDS", 0.01)
        slots.overwrite([f"note:{note.rpartition('/')[2]}"])
        site.go_on.clear()
        with ThreadPoolExecutor(3) as pool:
            sent = [pool.submit(site.send, "GET", note) for _ in range(3)]
            assert wait_until(lambda: site.passed == 4, 30)
            site.go_on.set()

        assert [each.result().status for each in sent] == [200] * 3

    def test_wait_for_those_of_the_same_user_alone_where_replies_are_a_users(self, site):
        target = f"/callers/{make_note()}"
        assert wait_until(lambda: is_hit(site, target, X_User_Id="a"), 10)
        assert wait_until(lambda: is_hit(site, target, X_User_Id="b"), 10)
        slots.overwrite([f"note:{target.rpartition('/')[2]}"])
        site.passed = 0
        site.go_on.clear()
        with ThreadPoolExecutor(2) as pool:
            sent = [pool.submit(site.send, "GET", target, X_User_Id=user) for user in "ab"]
            assert wait_until(lambda: site.passed == 2, 30)
            site.go_on.set()

        assert [each.result().status for each in sent] == [200, 200]


class TestHit:
    def test_is_what_the_second_request_gets(self, site):
        target = f"/api/v1/notes/{make_note()}"
        first, second = site.send("GET", target), site.send("GET", target)

        assert (site.passed, first.status, second.status) == (1, 200, 200)
        assert second.body == first.body
        assert first["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert re.fullmatch(r"trilith; hit; ttl=2[67-9]\d; detail=L1", second["Cache-Status"])

    def test_of_a_list_has_its_links(self, site):
        make_notes(3)
        first, second = (site.send("GET", "/api/v1/notes?limit=1") for _ in range(2))

        assert (site.passed, second["Link"]) == (1, first["Link"])
        assert "<http://localhost/api/v1/notes?" in second["Link"]

    def test_of_a_profile_follows_its_load(self, site):
        profiles.profile_create(
            user_id="edge-1", email="edge-1@example.com", preferences={}, caller="edge-1"
        )
        assert not is_hit(site, "/api/v1/profiles/edge-1")
        assert is_hit(site, "/api/v1/profiles/edge-1")

    def test_is_for_everyone_who_may_call(self, site, note):
        assert is_hit(site, note, X_User_Id="somebody")
        assert is_hit(site, note, X_User_Id="a" * 128)

    @pytest.mark.parametrize("user_id", ["", ".", "recent", "a b", "a" * 129, "ü"])
    def test_is_for_nobody_else(self, site, note, user_id):
        reply = site.send("GET", note, X_User_Id=user_id)

        assert (reply.status, site.passed) == (400, 2)

    @pytest.mark.parametrize(
        ("target", "headers"),
        [
            ("?cache=true", {}),
            ("", {"Host": "127.0.0.1"}),
            ("/", {}),
            ("", {"X_Forwarded_Proto": "https"}),
        ],
    )
    def test_is_of_the_same_target_host_and_scheme_alone(self, site, note, target, headers):
        site.send("GET", note + target, **headers)

        assert site.passed == 2

    @pytest.mark.parametrize(
        "headers", [{"Host": "localhost:" + "0" * 2_048}, {"X_Forwarded_Proto": "x" * 2_048}]
    )
    def test_is_kept_for_no_request_whose_fields_fill_the_memory(self, site, note, headers):
        replies = [site.send("GET", note, **headers) for _ in range(2)]

        assert [reply.status for reply in replies] == [200, 200]
        assert site.passed == 3

    def test_of_http_1_0_is_none(self, site, note):
        environ = environ_of("GET", note)
        del environ["HTTP_HOST"]
        reply_of(site.edge, environ)
        reply_of(site.edge, environ)

        assert site.passed == 3

    def test_ends_with_a_write(self, site, note):
        changed = site.send(
            "PATCH", note, b'{"title": "New"}', Content_Type="application/json", X_User_Id="abc"
        )
        reply = site.send("GET", note)

        assert (changed.status, reply.body) == (200, changed.body)
        assert reply["Cache-Status"] == "trilith; fwd=uri-miss; stored"

    def test_ends_with_a_write_of_another_process(self, site, note):
        slots.overwrite([f"note:{note.rpartition('/')[2]}"])

        assert not is_hit(site, note)

    def test_needs_the_lease(self, site, note, monkeypatch):
        without_lease(monkeypatch)

        assert not is_hit(site, note)
        assert not is_hit(site, note)

    def test_needs_the_level(self, site, note, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 0}
        first_level.copies.clear()

        assert not is_hit(site, note)
        assert not is_hit(site, note)

    def test_tells_the_seconds_that_are_left(self, site, note, monkeypatch):
        before = site.send("GET", note)["Cache-Status"]
        clock = "config.web.edge.perf_counter"
        monkeypatch.setattr(clock, lambda real=time.perf_counter: real() + 100)
        after = site.send("GET", note)["Cache-Status"]

        left = [int(re.search(r"ttl=(\d+)", status)[1]) for status in (before, after)]
        assert left[0] - left[1] in (100, 101)


class TestViews:
    @pytest.mark.parametrize("name", NOT_REUSED)
    def test_a_reply_behind_a_gate_or_for_one_request_is_not_kept(self, site, name):
        target = f"/{name}/{make_note()}"

        assert [is_hit(site, target) for _ in range(3)] == [False] * 3

    def test_nor_is_an_error(self, site):
        target = f"/api/v1/notes/{'0' * 8}-0000-4000-8000-{'0' * 12}"

        assert [site.send("GET", target).status for _ in range(3)] == [404] * 3
        assert site.passed == 3

    def test_one_that_is_declared_for_everyone_is_kept(self, site):
        target = f"/declared/{make_note()}"
        site.send("GET", target)

        assert is_hit(site, target, X_User_Id="somebody")

    def test_one_that_is_declared_for_its_caller_is_kept_for_that_one(self, site):
        target = f"/callers/{make_note()}"
        site.send("GET", target, X_User_Id="abc")

        assert is_hit(site, target, X_User_Id="abc")
        assert not is_hit(site, target, X_User_Id="def")
        assert not is_hit(site, target)
        assert is_hit(site, target, X_User_Id="demo")


class TestUnusual:
    @pytest.mark.parametrize("name", sorted(UNUSUAL))
    def test_fields_go_to_django_and_no_reply_to_them_is_kept(self, site, note, name):
        environ = environ_of("GET", note) | {name: "0" if name == "CONTENT_LENGTH" else "x"}
        reply_of(site.edge, environ)

        assert site.passed == 2

        first_level.copies.clear()
        reply_of(site.edge, environ)
        assert not is_hit(site, note)

    @pytest.mark.parametrize(
        "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"]
    )
    def test_methods_go_to_django(self, site, note, method):
        site.send(method, note)

        assert site.passed == 2


class TestReaders:
    """Whatever reads a field of requests is known to the edge, or cannot change a reply that is kept."""

    # Read where no reply is kept: of writes, of probes, or of static files.
    ELSEWHERE = {
        *("HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_ORIGIN", "HTTP_REFERER"),
        *("HTTP_X_LOAD_MS", "HTTP_X_RECORDING", "HTTP_X_SINGLE_FLIGHT"),
        "HTTP_IDEMPOTENCY_KEY",
    }
    KNOWN = UNUSUAL | UNDERSTOOD | ELSEWHERE

    def test_in_this_repository_are_known(self):
        read = set()
        for folder in ("config", "cachelayer", "notes", "profiles", "activity"):
            for module in (ROOT / folder).rglob("*.py"):
                tree = ast.parse(module.read_text())
                read |= {
                    node.value
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and re.fullmatch("HTTP_[A-Z_]+", node.value)
                }
                read |= {f"HTTP_{name.upper().replace('-', '_')}" for name in fields_read(tree)}

        assert {"HTTP_X_USER_ID", "HTTP_AUTHORIZATION", "HTTP_IF_MATCH"} <= read
        assert read - self.KNOWN - {"HTTP_CONTENT_TYPE"} == set()

    @pytest.mark.parametrize(
        "target", ["/api/v1/notes/{}", "/api/v1/notes?limit=2", "/api/v1/profiles/x"]
    )
    def test_in_the_libraries_are_known(self, site, target, monkeypatch):
        read = set()

        class Environ(dict):
            def __getitem__(self, name):
                read.add(name)
                return super().__getitem__(name)

            def __contains__(self, name):
                read.add(name)
                return super().__contains__(name)

            def get(self, name, default=None):
                read.add(name)
                return super().get(name, default)

        def of_headers(self, name):
            read.add(f"HTTP_{name.upper().replace('-', '_')}")
            return super(HttpHeaders, self).__getitem__(name)

        monkeypatch.setattr(HttpHeaders, "__getitem__", of_headers)
        environ = Environ(environ_of("GET", target.format(make_note()), {"X-User-Id": "abc"}))
        reply_of(site._django, environ)

        fields = {name for name in read if name.startswith("HTTP_")}
        assert {"HTTP_X_USER_ID", "HTTP_HOST"} <= fields
        assert fields - self.KNOWN == set()


def fields_read(tree: ast.AST) -> set[str]:
    """The names in request.headers.get("X"), request.headers["X"] and "X" in request.headers."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="headers", value=owner), attr="get"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names |= {name} if "request" in ast.unparse(owner) else set()
            case ast.Subscript(
                value=ast.Attribute(attr="headers", value=owner),
                slice=ast.Constant(value=str(name)),
            ):
                names |= {name} if "request" in ast.unparse(owner) else set()
            case ast.Compare(
                left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr="headers")]
            ):
                names.add(name)
    return names


class TestConditional:
    def test_is_answered_by_a_304_without_its_content(self, site, note):
        full = site.send("GET", note)
        reply = site.send("GET", note, If_None_Match=full["ETag"])

        assert (site.passed, reply.status, reply.body) == (1, 304, b"")
        assert reply["ETag"] == full["ETag"]
        assert dict(reply.headers).keys() == dict(full.headers).keys() - {"Content-Type"}

    @pytest.mark.parametrize("field", ["*", "W/{}", '"other", {}', " {} "])
    def test_names_the_copy_in_every_form(self, site, note, field):
        etag = site.send("GET", note)["ETag"]

        assert site.send("GET", note, If_None_Match=field.format(etag)).status == 304
        assert site.passed == 1

    @pytest.mark.parametrize("field", ['"other"', "malformed", ""])
    def test_is_answered_in_full_where_it_names_another(self, site, note, field):
        assert site.send("GET", note, If_None_Match=field).status == 200
        assert site.passed == 1

    def test_makes_a_copy_by_which_others_are_answered_in_full(self, site):
        target = f"/api/v1/notes/{make_note()}"
        expected = site.send_past_edge("GET", target)
        conditional = site.send("GET", target, If_None_Match=expected["ETag"])
        reply = site.send("GET", target)

        assert (conditional.status, site.passed) == (304, 1)
        assert (reply.status, reply.body) == (200, expected.body)
        assert [name for name, _ in reply.headers] == [name for name, _ in expected.headers]
        assert reply["Content-Length"] == str(len(reply.body))


class TestRequestId:
    def test_is_the_callers_where_it_is_safe(self, site, note):
        assert site.send("GET", note, X_Request_Id="mine-1")["X-Request-ID"] == "mine-1"

    @pytest.mark.parametrize("unsafe", ["", "a b", "x" * 129, "line\n"])
    def test_is_else_a_new_one(self, site, note, unsafe):
        ids = {site.send("GET", note, X_Request_Id=unsafe)["X-Request-ID"] for _ in range(3)}

        assert len(ids) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


class TestEvents:
    def test_a_hit_is_recorded_as_a_miss_is(self, site):
        make_notes(1)
        for _ in range(2):
            site.send(
                "GET",
                "/api/v1/notes?limit=5",
                X_User_Id="abc",
                User_Agent="curl/8",
                X_Request_Id="r-1",
            )
        first, second = events()

        assert site.passed == 1
        for event in (first, second):
            del event["_id"], event["timestamp"]
        assert first == second
        assert second["details"] == {"status": 200, "query": {"limit": "5"}}

    def test_each_hit_is_of_its_own_caller(self, site, note):
        site.send("GET", note, X_User_Id="somebody", User_Agent="wget", X_Request_Id="r-2")
        event = events()[-1]

        assert (event["user_id"], event["user_agent"]) == ("somebody", "wget")
        assert (event["request_id"], event["action"]) == ("r-2", "note_viewed")

    def test_none_is_recorded_of_a_304_or_a_head(self, site, note):
        recorded = len(events())
        site.send("HEAD", note)
        site.send("GET", note, If_None_Match="*")

        assert (site.passed, len(events())) == (1, recorded)

    def test_a_copy_made_by_a_304_has_its_hits_recorded(self, site):
        target = f"/api/v1/notes/{make_note()}"
        site.send("GET", target, If_None_Match="*")
        site.send("GET", target)

        assert site.passed == 1
        assert [event["details"] for event in events()] == [{"status": 200}]

    def test_none_is_recorded_where_that_is_switched_off(self, site, note):
        recorded = len(events())
        reply_of(site.edge, environ_of("GET", note) | {UNRECORDED: True})

        assert (site.passed, len(events())) == (1, recorded)

    def test_a_copy_made_while_it_was_switched_off_has_its_hits_recorded(self, site):
        target = f"/api/v1/notes/{make_note()}"
        reply_of(site.edge, environ_of("GET", target) | {UNRECORDED: True})
        site.send("GET", target)

        assert (site.passed, len(events())) == (1, 1)

    def test_a_proxys_client_is_recorded(self, site, note, settings):
        settings.TRUSTED_PROXIES = 1
        site.send("GET", note, X_Forwarded_For="203.0.113.7")

        assert events()[-1]["ip_address"] == "203.0.113.0"

    def test_a_full_disk_changes_no_reply(self, site, monkeypatch):
        target = f"/api/v1/notes/{make_note()}"
        failed = activity_metrics.FAILED._value.get()

        def full(self, elements):
            raise OSError("the disk is full")

        monkeypatch.setattr(spool.Spool, "append_elements", full)

        assert not is_hit(site, target)
        assert is_hit(site, target)
        assert activity_metrics.FAILED._value.get() == failed + 2


def counted_hits() -> float:
    return sum(
        sample.value
        for sample in prometheus.samples()["cachelayer_reads_total"]
        if sample.labels == {"namespace": "notes", "result": "hit"}
    )


class TestCounts:
    def test_a_scrape_has_each_hit_at_once(self, site, note):
        before = counted_hits()
        for method in ("GET", "HEAD", "GET"):
            site.send(method, note)

        assert counted_hits() == before + 3

    def test_popularity_has_each_hit(self, site, note):
        popularity.flush()
        for _ in range(7):
            site.send("GET", note)
        popularity.flush()

        name = f"notes:{note.rpartition('/')[2]}"
        # 1 of the load, 1 of the fixture's hit
        assert popularity.hottest("notes", 1) == [(name, 9.0)]
        assert popularity.minutes(2)[-1][1]["notes", "hit"] >= 7

    def test_none_is_lost_with_its_thread_or_its_copy(self, site, note):
        popularity.flush()
        before = counted_hits()
        threads = [
            threading.Thread(target=lambda: [site.send("HEAD", note) for _ in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first_level.copies.clear()
        reads, results = counts.take()

        assert counted_hits() == before + 800
        assert results["notes", "hit"] == 800
        assert reads["notes", f"notes:{note.rpartition('/')[2]}"] == 800


class TestTraces:
    def test_a_sampled_request_goes_to_django_which_stores_its_trace(self, note, settings):
        settings.TRACE_SHARE = 1.0
        site = Site()
        reply = site.send("GET", note)

        assert site.passed == 1
        capped_list.flush()
        [trace] = traces.traces_of(reply["X-Request-ID"])
        assert trace["reason"] == "sampled"

    def test_one_that_is_not_sampled_is_not_drawn_again(self, note, settings, monkeypatch):
        settings.TRACE_SHARE = 0.5
        draws = []
        drawing = SimpleNamespace(random=lambda: draws.append(1) or 0.9)
        monkeypatch.setattr(traces, "random", drawing)
        site = Site()
        site.send("GET", note)
        site.send("GET", note, Pragma="no-cache")

        assert (site.passed, len(draws)) == (1, 2)

    def test_a_slow_hit_is_stored(self, note, settings):
        settings.SLOW_QUERY_MS = 0
        site = Site()
        reply = site.send("GET", note)

        assert site.passed == 0
        capped_list.flush()
        [trace] = traces.traces_of(reply["X-Request-ID"])
        assert (trace["reason"], trace["path"], trace["endpoint"]) == ("slow", note, "site:note")
        assert (trace["status"], trace["method"], trace["steps"]) == (200, "GET", [])
        assert reply["Server-Timing"].startswith("app;dur=")


class TestAccessLog:
    def test_a_hit_is_no_line_by_default(self, site, note):
        with capture_logs() as lines:
            assert is_hit(site, note)

        assert not lines

    def test_a_hit_is_a_line_where_that_is_set(self, note, settings):
        settings.EDGE_ACCESS_LOG = True
        site = Site()
        with capture_logs() as lines:
            site.send("GET", note, X_Request_Id="r-3")

        [line] = lines
        assert (line["event"], line["method"], line["path"]) == ("request", "GET", note)
        assert (line["status"], line["request_id"]) == (200, "r-3")
        assert line["cache"].startswith("trilith; hit")


class TestRoom:
    """While as many requests work in Django as may, others wait; hits and probes do not."""

    @pytest.fixture
    def busy(self, note, settings):
        settings.WEB_THREADS = 1
        entered, leave, replies = threading.Event(), threading.Event(), []

        def django(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                entered.set()
                leave.wait(30)
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode()]

        edge = Edge(
            django, is_sampled=lambda _: False, keep_slow=print, never_waiting={"/health/live"}
        )

        def send(target):
            replies.append(reply_of(edge, environ_of("GET", target)).body)

        threads = [threading.Thread(target=send, args=["/slow"])]
        threads[0].start()
        assert entered.wait(30)
        yield SimpleNamespace(send=send, replies=replies, leave=leave, threads=threads)
        leave.set()
        for thread in threads:
            thread.join()

    def test_a_hit_is_answered(self, busy, note):
        busy.send(note)

        assert note.rpartition("/")[2].encode() in busy.replies[0]

    def test_a_probe_is_answered(self, busy):
        busy.send("/health/live")

        assert busy.replies == [b"/health/live"]

    def test_anything_else_waits(self, busy):
        waiting = threading.Thread(target=busy.send, args=["/other"])
        waiting.start()
        waiting.join(0.2)
        assert busy.replies == []
        busy.leave.set()
        waiting.join(30)

        assert sorted(busy.replies) in ([b"/other"], [b"/other", b"/slow"])


class TestUserIds:
    def test_as_many_are_kept_as_there_is_room_for(self, site, note, monkeypatch):
        monkeypatch.setattr("config.web.callers._KEPT_MAX", 3)
        for number in range(9):
            assert is_hit(site, note, X_User_Id=f"user-{number}")

        assert len(identity_of_settings().known) <= 3
