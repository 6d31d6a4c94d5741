"""The durations of requests, by route, method, status class and cache level."""

import threading

import pytest
from limits import parse
from prometheus_client import Histogram

from cachelayer import prometheus
from config import deferred_metrics
from config.stack.process import wait_until
from tests.builders import make_note
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.config.web.test_rate_limits import patient  # noqa: F401  # a fixture
from tests.wsgi import Site

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("level_on", "patient"),
]

FAMILY = "http_request_duration_seconds"


def counted(**labels: str) -> float:
    """How many requests with these labels a scrape shows at present."""
    return sum(
        sample.value
        for sample in prometheus.samples()[f"{FAMILY}_count"]
        if labels.items() <= sample.labels.items()
    )


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def note(site) -> str:
    """The target of a note whose reply the edge has."""
    target = f"/api/v1/notes/{make_note()}"
    assert wait_until(lambda: is_hit(site, target), 10)
    return target


def is_hit(site: Site, target: str) -> bool:
    """Whether the edge answers a GET by itself; on a busy machine the lease may lapse for a moment."""
    passed = site.passed
    site.send("GET", target)
    return site.passed == passed


class TestLabels:
    @pytest.mark.parametrize(
        ("method", "target", "body", "labels"),
        [
            ("GET", "/api/v1/notes", b"", ("notes", "GET", "2xx", "loaded")),
            ("GET", "/api/v1/notes?cache=false", b"", ("notes", "GET", "2xx", "bypassed")),
            ("GET", "/api/v1/notes?limit=0", b"", ("notes", "GET", "4xx", "none")),
            ("GET", "/", b"", ("home", "GET", "2xx", "loaded")),
            ("GET", "/api/v1/notes/none", b"", ("note", "GET", "4xx", "none")),
            ("POST", "/api/v1/notes", b'{"title": "A"}', ("notes", "POST", "2xx", "none")),
            ("POST", "/api/v1/notes", b"{", ("notes", "POST", "4xx", "none")),
            ("BREW", "/api/v1/notes", b"", ("notes", "other", "4xx", "none")),
            ("GET", "/no/such/path", b"", ("none", "GET", "4xx", "none")),
            ("GET", "/health/live", b"", ("live", "GET", "2xx", "none")),
            ("GET", "/admin/", b"", ("admin:index", "GET", "3xx", "none")),
        ],
    )
    def test_are_those_of_the_reply(self, site, method, target, body, labels):
        expected = dict(zip(("route", "method", "status", "cache"), labels, strict=True))
        before = counted(**expected), counted()
        site.send(method, target, body, Content_Type="application/json")

        assert (counted(**expected), counted()) == (before[0] + 1, before[1] + 1)

    def test_of_a_body_that_ends_early_are_those_of_its_400(self, site):
        before = counted(route="none", method="POST", status="4xx")
        reply = site.send("POST", "/api/v1/notes", b"{}", Content_Length="2")
        assert reply.status == 415
        short = site.send("POST", "/api/v1/notes", b"", Content_Length="9")

        assert short.status == 400
        assert counted(route="none", method="POST", status="4xx") == before + 1

    @pytest.mark.parametrize(
        ("method", "target", "route"),
        [
            ("GET", "/api/v1/notes", "notes"),
            ("BREW", "/api/v1/notes", "notes"),
            ("GET", "/api/v1/no/such/path", "none"),
        ],
    )
    def test_beyond_a_rate_limit_are_those_of_its_429(self, settings, method, target, route):
        settings.RATE_LIMIT_READ = settings.RATE_LIMIT_WRITE = parse("1/hour")
        site = Site()
        site.send(method, target)
        labels = {"route": route, "method": "other" if method == "BREW" else "GET"}
        before = counted(**labels, status="4xx", cache="none"), counted(), site.passed
        statuses = [site.send(method, target).status for _ in range(3)]
        after = counted(**labels, status="4xx", cache="none"), counted(), site.passed

        assert statuses == [429] * 3
        assert after == (before[0] + 3, before[1] + 3, before[2])

    def test_are_few_whatever_is_requested(self, site):
        """Paths, methods and ids that clients invent make no further series."""
        requests = [
            (method, path)
            for method in ("GET", "BREW", "get")
            for path in ("/no/path", "/api/v1/no/path", "/api/v1/notes/no-id", "/admin/no/path/")
        ]
        for method, path in requests:
            site.send(method, path)
        counted()
        series = len(prometheus.samples()[f"{FAMILY}_count"])
        for method, path in requests:
            site.send(f"{method}S", path + "-" + method)
            site.send(method, path.replace("no", "nothing"))
        site.send("PROPFIND", "/no/path?a=1")

        assert len(prometheus.samples()[f"{FAMILY}_count"]) == series

    def test_of_the_second_level_is_hit(self, site, note, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"FIRST_LEVEL_BYTES": 0}
        expected = {"route": "note", "status": "2xx", "cache": "hit"}
        before = counted(**expected)
        site.send("GET", note, Pragma="")  # past the edge

        assert counted(**expected) == before + 1

    def test_of_an_outage_of_redis_is_cache_down(self, stack, site, note, closed_breaker):
        expected = {"route": "note", "status": "2xx", "cache": "cache-down"}
        before = counted(**expected)
        stack.kill("redis")
        try:
            site.send("GET", note, Pragma="")
        finally:
            stack.start("redis")

        assert counted(**expected) == before + 1


class TestHitsAtTheEdge:
    @pytest.mark.parametrize(
        ("method", "headers", "status"),
        [("GET", {}, "2xx"), ("HEAD", {}, "2xx"), ("GET", {"If_None_Match": "*"}, "3xx")],
    )
    def test_are_counted_with_their_method_and_status(self, site, note, method, headers, status):
        expected = {"route": "note", "method": method, "status": status, "cache": "first-level"}

        def are_counted() -> bool:
            before, passed = counted(**expected), site.passed
            for _ in range(3):
                site.send(method, note, **headers)
            return (counted(**expected), site.passed) == (before + 3, passed)

        assert wait_until(are_counted, 10)

    def test_beyond_a_rate_limit_are_429s_of_the_route(self, settings, note):
        settings.RATE_LIMIT_READ = parse("1/hour")
        site = Site()
        site.send("GET", note)
        expected = {"route": "note", "method": "GET", "status": "4xx", "cache": "none"}
        before, passed = counted(**expected), site.passed

        assert [site.send("GET", note).status for _ in range(2)] == [429, 429]
        assert (counted(**expected), site.passed) == (before + 2, passed)

    def test_take_no_metric_and_no_lock(self, site, note, monkeypatch):
        def refuse(*args: object) -> None:
            raise AssertionError("a metric on the way of a hit")

        with monkeypatch.context() as patch:
            for name in ("observe", "labels"):
                patch.setattr(Histogram, name, refuse)
            patch.setattr(deferred_metrics, "observe_all", refuse)
            assert wait_until(lambda: is_hit(site, note), 10)

    def test_none_is_lost_between_threads(self, site, note):
        before = counted(route="note", method="HEAD")
        stop = threading.Event()

        def scrape() -> None:
            while not stop.is_set():
                deferred_metrics.flush()

        scraping = threading.Thread(target=scrape)
        hitting = [
            threading.Thread(target=lambda: [site.send("HEAD", note) for _ in range(200)])
            for _ in range(4)
        ]
        for thread in (scraping, *hitting):
            thread.start()
        for thread in hitting:
            thread.join()
        stop.set()
        scraping.join()

        assert counted(route="note", method="HEAD") == before + 800
