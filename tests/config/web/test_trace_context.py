"""traceparent, as the W3C's Trace Context defines it: what is taken from it, and where it goes."""

import io
import json

import pytest
import structlog
from django.test import Client
from limits import parse
from structlog.testing import capture_logs

from config.observability import logs
from config.stack.process import wait_until
from config.web.trace_context import is_recorded_by_caller, trace_id_of
from tests.builders import make_note
from tests.cachelayer.test_first_level import level_on  # noqa: F401  # a fixture
from tests.config.web.test_rate_limits import patient  # noqa: F401  # a fixture
from tests.wsgi import Site

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


class TestTraceId:
    @pytest.mark.parametrize(
        "header",
        [
            TRACEPARENT,
            f"00-{TRACE_ID}-{PARENT_ID}-00",
            f"00-{TRACE_ID}-{PARENT_ID}-ff",
            f"01-{TRACE_ID}-{PARENT_ID}-01",
            f"cc-{TRACE_ID}-{PARENT_ID}-01-what-the-future-will-be-like",
        ],
    )
    def test_is_the_callers(self, header):
        assert trace_id_of({"HTTP_TRACEPARENT": header}) == TRACE_ID

    @pytest.mark.parametrize(
        "header",
        [
            "",
            TRACE_ID,
            TRACEPARENT.upper(),
            f" {TRACEPARENT}",
            f"{TRACEPARENT}\n",
            f"{TRACEPARENT}-rest",
            f"{TRACEPARENT},{TRACEPARENT}",
            f"cc-{TRACE_ID}-{PARENT_ID}-01.what",
            f"ff-{TRACE_ID}-{PARENT_ID}-01",
            f"00-{'0' * 32}-{PARENT_ID}-01",
            f"00-{TRACE_ID}-{'0' * 16}-01",
            f"00-{TRACE_ID[1:]}-{PARENT_ID}-01",
            f"00-{TRACE_ID}-{PARENT_ID}-1",
            f"00-{chr(0x660) * 32}-{PARENT_ID}-01",
        ],
    )
    def test_of_what_is_malformed_is_none(self, header):
        assert trace_id_of({"HTTP_TRACEPARENT": header}) is None

    def test_without_the_header_is_none(self):
        assert trace_id_of({}) is None


class TestRecordedByCaller:
    @pytest.mark.parametrize("flags", ["01", "03", "ff"])
    def test_is_so_where_it_has_set_the_flag(self, flags):
        assert is_recorded_by_caller({"HTTP_TRACEPARENT": f"00-{TRACE_ID}-{PARENT_ID}-{flags}"})

    @pytest.mark.parametrize(
        "header",
        ["", f"00-{TRACE_ID}-{PARENT_ID}-00", f"00-{TRACE_ID}-{PARENT_ID}-02", f"{TRACEPARENT}-x"],
    )
    def test_is_not_so_where_it_has_not(self, header):
        assert not is_recorded_by_caller({"HTTP_TRACEPARENT": header})

    def test_is_not_so_without_the_header(self):
        assert not is_recorded_by_caller({})


@pytest.mark.django_db(transaction=True)
class TestProblems:
    @pytest.mark.parametrize(
        "path",
        ["/api/v1/notes/none", "/api/v1/notes?limit=0", "/api/none", "/api/v1/metrics/db?x=1"],
    )
    def test_have_the_callers_trace_id(self, path):
        reply = Client(headers={"traceparent": TRACEPARENT}).get(path)

        assert reply.json()["trace_id"] == TRACE_ID

    @pytest.mark.usefixtures("patient")
    def test_have_it_beyond_a_rate_limit_too(self, settings):
        settings.RATE_LIMIT_WRITE = parse("1/hour")
        site = Site()
        replies = [site.send("POST", "/api/v1/notes", Traceparent=TRACEPARENT) for _ in range(2)]

        assert [(reply.status, json.loads(reply.body)["trace_id"]) for reply in replies] == [
            (400, TRACE_ID),
            (429, TRACE_ID),
        ]

    @pytest.mark.parametrize("headers", [{}, {"traceparent": "malformed"}])
    def test_have_none_where_there_is_none(self, headers):
        assert "trace_id" not in Client(headers=headers).get("/api/v1/notes/none").json()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("level_on")
class TestLines:
    @pytest.fixture
    def written(self, monkeypatch) -> io.StringIO:
        """What is logged from here on, by the processors of the settings."""
        stream = io.StringIO()
        configured = structlog.get_config()["processors"]
        logger = structlog.wrap_logger(
            structlog.PrintLogger(stream), processors=configured[:-2] + logs._rendering("json")
        )
        for module in ("config.observability.middleware", "config.web.edge"):
            monkeypatch.setattr(f"{module}.log", logger)
        return stream

    def test_have_the_ids_of_their_own_request_alone(self, written, settings):
        settings.EDGE_ACCESS_LOG = True
        site, target = Site(), f"/api/v1/notes/{make_note()}"
        for number, headers in enumerate(
            [{"Traceparent": TRACEPARENT}, {}, {"Traceparent": TRACEPARENT}]
        ):
            site.send("GET", target, X_Request_Id=f"r-{number}", **headers)
        lines = [json.loads(line) for line in written.getvalue().splitlines()]

        assert [(line["request_id"], line.get("trace_id")) for line in lines] == [
            ("r-0", TRACE_ID),
            ("r-1", None),
            ("r-2", TRACE_ID),
        ]
        assert site.passed < 3  # the edge has answered some

    def test_of_a_request_without_one_have_none(self, written):
        client = Client()
        client.get("/health/live", headers={"traceparent": TRACEPARENT})
        client.get("/health/live")
        first, second = map(json.loads, written.getvalue().splitlines())

        assert (first["trace_id"], second.get("trace_id")) == (TRACE_ID, None)

    def test_a_hit_stays_one(self):
        site, target = Site(), f"/api/v1/notes/{make_note()}"

        with capture_logs():
            assert wait_until(lambda: is_hit(site, target, TRACEPARENT), 10)

    def test_a_hit_whose_caller_records_it_goes_to_django_where_spans_are_sent(self, settings):
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://localhost:4318"
        site, target = Site(), f"/api/v1/notes/{make_note()}"

        with capture_logs():
            assert wait_until(lambda: is_hit(site, target, f"{TRACEPARENT[:-2]}00"), 10)
            assert not is_hit(site, target, TRACEPARENT)


def is_hit(site: Site, target: str, traceparent: str) -> bool:
    """Send a request; return whether the edge has answered it."""
    passed = site.passed
    site.send("GET", target, Traceparent=traceparent)
    return site.passed == passed
