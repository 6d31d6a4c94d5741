"""Rate limits: how exact they are over processes, what is refused and how, and what Redis has to do with it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis
from limits import parse
from structlog.testing import capture_logs

from cachelayer import client, metrics
from config.stack import ROOT
from config.stack.process import wait_until
from config.web import rate_limits
from config.web.rate_limits import RateLimiter, scope_of
from tests.builders import make_note
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.wsgi import Site, environ_of

PROCESSES = 3
PROCESS = "tests.config.web.rate_limited_process"
WRITE = {"body": b'{"title": "x"}', "Content_Type": "application/json"}


def limiter_of(**rates: str) -> RateLimiter:
    """A limiter as a process has one; each knows what it has heard of Redis alone."""
    return RateLimiter({scope: parse(rate) for scope, rate in rates.items()})


def admitted(limiter: RateLimiter, number: int, *, is_hit: bool = False, user: str = "abc") -> int:
    """Return how many of so many reads are admitted."""
    environ = environ_of("GET", "/api/v1/notes", {"X-User-Id": user})
    return [limiter.refusal(environ, is_hit=is_hit) for _ in range(number)].count(None)


def name_of(limiter: RateLimiter) -> str:
    """Return the name in Redis of the limiter's only window."""
    [window] = limiter._windows.values()
    return window.name


@pytest.fixture
def round_trips(monkeypatch) -> list[int]:
    """Has an element for each use of a connection to Redis in the test's thread."""
    pool = client.client().connection_pool
    uses, thread, take = [], threading.get_ident(), pool.get_connection

    def counted(*args, **kwargs):
        if threading.get_ident() == thread:
            uses.append(1)
        return take(*args, **kwargs)

    monkeypatch.setattr(pool, "get_connection", counted)
    return uses


@pytest.fixture
def patient(settings) -> Iterator[None]:
    """On a busy machine a reply of Redis may take longer than the site would wait for it."""
    own = client.Pool.from_url(settings.REDIS_URL, socket_timeout=10.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "client", lambda: redis.Redis(connection_pool=own))
        yield
    own.disconnect()


class TestScopes:
    @pytest.mark.parametrize(
        ("method", "target", "scope"),
        [
            ("GET", "/api/v1/notes", "read"),
            ("HEAD", "/api/v1/profiles/x", "read"),
            ("GET", "/api/v1/notes?page=2&q=word", "search"),
            ("HEAD", "/api/v1/notes?q=", "search"),
            ("GET", "/api/v1/notes?%71=word", "search"),
            ("GET", "/api/v1/notes?q", "search"),
            ("GET", "/api/v1/notes?sort=q&xq=1", "read"),
            ("POST", "/api/v1/notes?q=word", "write"),
            ("DELETE", "/api/v1/notes/x", "write"),
            ("POST", "/api/v1/notes/bulk", "write"),
            ("POST", "/api/v1/notes/bulk/delete", "write"),
            ("GET", "/api/v1/metrics/cache", ""),
            ("POST", "/api/v1/admin/cache/clear", ""),
            ("GET", "/health", ""),
            ("GET", "/metrics", ""),
            ("POST", "/admin/login/", ""),
            ("GET", "/", ""),
        ],
    )
    def test_follow_from_method_path_and_query(self, method, target, scope):
        assert scope_of(environ_of(method, target)) == scope

    @pytest.mark.usefixtures("patient")
    def test_are_counted_apart(self):
        limiter = limiter_of(read="2/minute", search="1/minute")
        search = environ_of("GET", "/api/v1/notes?q=x", {"X-User-Id": "abc"})

        assert limiter.refusal(search) is None
        assert limiter.refusal(search).scope == "search"
        assert admitted(limiter, 5) == 2

    def test_without_a_limit_are_not_counted(self, round_trips):
        limiter = limiter_of(write="1/minute")

        assert admitted(limiter, 5) == 5
        assert not round_trips


@pytest.mark.usefixtures("patient")
class TestCallers:
    def test_are_counted_apart(self):
        limiter = limiter_of(read="3/minute")

        assert [admitted(limiter, 5, user=user) for user in ("abc", "def")] == [3, 3]

    def test_without_a_header_are_the_default_one(self):
        limiter = limiter_of(read="1/minute")
        assert limiter.refusal(environ_of("GET", "/api/v1/notes")) is None

        assert admitted(limiter, 1, user="demo") == 0

    def test_who_are_not_valid_are_left_to_authentication(self, round_trips):
        limiter = limiter_of(read="1/minute")

        assert admitted(limiter, 5, user="a b") == 5
        assert not round_trips

    def test_are_limited_still_when_too_many_are_known(self, monkeypatch):
        monkeypatch.setattr(rate_limits, "_WINDOWS_MAX", 2)
        limiter = limiter_of(read="3/minute")
        users = ["a", "b", "c", "d"]

        assert [admitted(limiter, 2, user=user) for user in users] == [2, 2, 2, 2]
        assert [admitted(limiter, 2, user=user) for user in users] == [1, 1, 1, 1]
        assert len(limiter._windows) <= 2


@pytest.mark.usefixtures("patient")
class TestWindow:
    def test_is_shared_by_processes(self):
        first, second = limiter_of(read="5/minute"), limiter_of(read="5/minute")

        assert [admitted(first, 3), admitted(second, 9), admitted(first, 9)] == [3, 2, 0]

    def test_is_over_in_the_end(self):
        limiter = limiter_of(read="2/second")
        admitted(limiter, 2)

        assert wait_until(lambda: admitted(limiter, 1) == 1, 10)

    def test_ends_when_it_ends_in_redis(self):
        first, second = limiter_of(read="2/minute"), limiter_of(read="2/minute")
        admitted(first, 2)
        client.client().pexpire(name_of(first), 5_000)
        refusal = second.refusal(environ_of("GET", "/api/v1/notes", {"X-User-Id": "abc"}))

        assert 1 <= refusal.retry_after_seconds <= 5

    def test_that_is_exhausted_costs_no_round_trip(self, round_trips):
        limiter = limiter_of(read="2/minute")
        admitted(limiter, 3)
        round_trips.clear()

        assert admitted(limiter, 100) == 0
        assert not round_trips

    def test_of_hits_that_is_over_settles_none_in_the_next(self, monkeypatch):
        limiter = limiter_of(read="100/minute")
        admitted(limiter, 3, is_hit=True)
        name = name_of(limiter)
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + 61)
        monkeypatch.setattr(rate_limits, "time", later)
        limiter.settle()

        assert client.client().get(name) is None


@pytest.mark.usefixtures("patient")
class TestHits:
    def test_cost_no_round_trip_each(self, round_trips):
        limiter = limiter_of(read="1000/minute")

        assert admitted(limiter, 40, is_hit=True) == 40
        assert not round_trips

    def test_are_counted_in_redis_once_settled(self):
        first, second = limiter_of(read="100/minute"), limiter_of(read="100/minute")
        admitted(first, 5, is_hit=True)
        first.settle()

        assert admitted(second, 100) == 95

    def test_are_settled_in_the_background(self):
        first, second = limiter_of(read="40/minute"), limiter_of(read="40/minute")
        first.start_in_background()
        admitted(first, 2, is_hit=True)
        name = name_of(first)
        assert wait_until(lambda: client.client().get(name) == b"2", 10)

        assert admitted(second, 100) == 38

    def test_of_a_small_limit_are_exact_without_being_settled(self):
        first, second = limiter_of(read="19/minute"), limiter_of(read="19/minute")

        assert admitted(first, 10, is_hit=True) + admitted(second, 50, is_hit=True) == 19

    def test_beyond_a_share_of_what_is_left_ask_redis(self, round_trips):
        limiter = limiter_of(read="100/minute")
        assert admitted(limiter, 4, is_hit=True) == 4
        assert not round_trips
        admitted(limiter, 1, is_hit=True)

        assert round_trips

    def test_and_other_requests_share_a_window(self):
        limiter = limiter_of(read="100/minute")

        assert admitted(limiter, 60, is_hit=True) + admitted(limiter, 20) == 80
        assert admitted(limiter, 50, is_hit=True) + admitted(limiter, 50) == 20


def run_processes(prefix: str, rate: str, requests: int, kind: str) -> list[tuple[int, int]]:
    """Return (admitted, calls of Redis) of each of several processes that count at once."""
    environment = os.environ | {"CACHE_PREFIX": prefix, "REDIS_TIMEOUT_MS": "10000"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", PROCESS, rate, str(requests), kind],
            cwd=ROOT,
            env=environment | {"DJANGO_SETTINGS_MODULE": "config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return [tuple(map(int, output.split())) for output in outputs]


class TestProcesses:
    """Several processes with several threads each, all for the same caller at once."""

    def test_admit_exactly_the_limit_where_django_answers(self, settings):
        results = run_processes(settings.CACHELAYER["PREFIX"], "200/hour", 200, "requests")

        assert sum(number for number, _ in results) == 200

    def test_admit_at_most_a_share_more_each_where_the_edge_answers(self, settings):
        results = run_processes(settings.CACHELAYER["PREFIX"], "2000/hour", 4000, "hits")
        total = sum(number for number, _ in results)

        assert 2000 <= total <= 2000 + PROCESSES * (2000 // rate_limits.SHARES)
        assert sum(calls for _, calls in results) < 1000  # of 12000 hits


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("level_on", "patient")
class TestSite:
    def test_refuses_by_a_problem_that_says_when_to_come_again(self, settings):
        settings.RATE_LIMIT_WRITE = parse("1/minute")
        site = Site()
        site.send("POST", "/api/v1/notes", **WRITE)
        passed = site.passed
        reply = site.send("POST", "/api/v1/notes", X_Request_Id="mine", **WRITE)
        problem = json.loads(reply.body)

        assert (reply.status, site.passed) == (429, passed)
        assert reply["Content-Type"] == "application/problem+json"
        assert 1 <= int(reply["Retry-After"]) <= 60
        assert problem == {
            "type": "urn:trilith:problem:rate-limited",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "The limit of write requests is 1 per 1 minute.",
            "instance": "/api/v1/notes",
            "request_id": "mine",
            "scope": "write",
        }
        assert reply["X-Request-ID"] == "mine"
        assert reply["Content-Length"] == str(len(reply.body))
        assert reply["X-Content-Type-Options"] == "nosniff"
        assert reply["Server-Timing"].startswith("app;dur=")

    def test_refuses_whatever_charset_a_request_names(self, settings):
        settings.RATE_LIMIT_READ = parse("1/minute")
        site = Site()
        target = "/api/v1/notes?limit=%31"

        replies = [site.send("GET", target, Content_Type="x/y; charset=rot13") for _ in range(2)]

        assert [reply.status for reply in replies] == [200, 429]

    def test_refuses_a_head_without_a_body(self, settings):
        settings.RATE_LIMIT_READ = parse("1/minute")
        site = Site()
        replies = [site.send("HEAD", "/api/v1/notes") for _ in range(2)]

        assert [reply.status for reply in replies] == [200, 429]
        assert replies[1].body == b""

    def test_refuses_hits_of_the_edge(self, settings):
        settings.RATE_LIMIT_READ = parse("4/minute")
        site = Site()
        target = f"/api/v1/notes/{make_note()}"
        statuses = [site.send("GET", target, X_User_Id="abc").status for _ in range(6)]

        assert statuses == [200] * 4 + [429] * 2
        assert site.passed == 1
        assert site.send("GET", target, X_User_Id="def").status == 200

    def test_answers_hits_without_a_round_trip(self, settings, round_trips):
        settings.RATE_LIMIT_READ = parse("10000/minute")
        site = Site()
        target = f"/api/v1/notes/{make_note()}"
        site.send("GET", target)
        round_trips.clear()
        statuses = {site.send("GET", target).status for _ in range(100)}

        assert (statuses, site.passed, round_trips) == ({200}, 1, [])

    def test_logs_a_refusal_where_hits_are_logged(self, settings):
        settings.RATE_LIMIT_WRITE = parse("1/minute")
        settings.EDGE_ACCESS_LOG = True
        site = Site()
        site.send("POST", "/api/v1/notes", **WRITE)
        with capture_logs() as lines:
            site.send("POST", "/api/v1/notes", **WRITE)

        assert [line["status"] for line in lines if line["event"] == "request"] == [429]

    def test_does_not_limit_health_metrics_and_administration(self, settings):
        settings.RATE_LIMIT_READ = settings.RATE_LIMIT_WRITE = parse("1/minute")
        site = Site()
        for target in ("/health/live", "/api/v1/metrics/cache", "/admin/login/"):
            assert [site.send("GET", target).status for _ in range(3)] == [200] * 3, target
        clears = [site.send("POST", "/api/v1/admin/cache/clear").status for _ in range(3)]
        assert clears == [401] * 3

    def test_without_limits_has_no_limiter(self):
        assert Site().limiter is None


@pytest.fixture
def redis_restored(stack):
    yield
    stack.start("redis")
    client.breaker.reset()


def unchecked() -> float:
    return rate_limits.UNCHECKED.labels("read")._value.get()


@pytest.mark.usefixtures("redis_restored")
class TestOutage:
    @pytest.mark.parametrize("is_hit", [False, True])
    def test_admits_all_counts_them_and_is_logged_once(self, stack, is_hit):
        limiter = limiter_of(read="20/hour")
        admitted(limiter, 1)
        before = unchecked()
        stack.kill("redis")
        with capture_logs() as lines:
            assert admitted(limiter, 200, is_hit=is_hit) == 200
            limiter.settle()
            assert admitted(limiter, 200, is_hit=is_hit) == 200

        events = [line for line in lines if line["event"].startswith("Rate limits")]
        assert [line["event"] for line in events] == ["Rate limits unavailable"]
        assert unchecked() == before + 400

    def test_that_hangs_is_waited_for_once(self, stack, monkeypatch):
        limiter = limiter_of(read="10000/hour")
        admitted(limiter, 1)
        operations = []
        monkeypatch.setattr(
            client, "observers", [lambda operation, *_: operations.append(operation)]
        )
        stack.pause("redis")
        try:
            assert admitted(limiter, 200) == 200
        finally:
            stack.resume("redis")

        assert operations.count("limit") == 1

    def test_that_is_over_is_noticed_and_logged_once(self, stack):
        limiter = limiter_of(read="20/hour")
        admitted(limiter, 1)
        stack.kill("redis")
        admitted(limiter, 1)
        stack.start("redis")
        client.breaker.reset()
        with capture_logs() as lines:
            assert wait_until(lambda: limiter.settle() or not limiter._is_away, 30)

        events = [line["event"] for line in lines if line["event"].startswith("Rate limits")]
        assert events == ["Rate limits available again"]
        assert admitted(limiter, 100) in (19, 20)  # Redis may have kept the one

    def test_is_ended_by_a_thread_that_was_started_again_meanwhile(self, monkeypatch):
        limiter = limiter_of(read="20/hour")
        limiter._is_away = True
        sent = limiter._send
        failures = [ValueError("not expected")]

        def fail_once(settlements):
            if failures:
                raise failures.pop()
            return sent(settlements)

        monkeypatch.setattr(limiter, "_send", fail_once)
        monkeypatch.setattr("cachelayer.supervision._FIRST_PAUSE_SECONDS", 0.01)
        limiter.start_in_background()

        assert wait_until(lambda: not limiter._is_away, 30)
        metrics.THREAD_FAILED_AT.clear()

    def test_a_full_redis_is_one(self, stack):
        limiter = limiter_of(read="20/hour")
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            operator.config_set("maxmemory-policy", "noeviction")
            operator.config_set("maxmemory", 1)
            try:
                assert admitted(limiter, 50) == 50
                limiter.settle()
                assert limiter._is_away
                assert not client.breaker.is_open
            finally:
                operator.config_set("maxmemory", 256 * 2**20)
                operator.config_set("maxmemory-policy", "allkeys-lru")
        limiter.settle()

        assert admitted(limiter, 50) == 20
