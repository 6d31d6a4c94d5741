"""Spans, as a collector receives them of a site of its own; and a site that sends none."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from activity.documents import ActivityEvent
from config.observability.telemetry import Exporter, WholeRequests, without_values
from config.stack import ROOT, process
from config.stack.loopback import direct
from config.stack.site import is_answering, site_command
from profiles.documents import UserProfile

pytestmark = pytest.mark.django_db

SECRET = "Xyzzyplugh"  # in whatever is somebody's
USER_ID = f"user-{SECRET}"
EMAIL = f"{SECRET.lower()}@example.org"
OTHER_USER_ID = f"other-{SECRET}"
PARENT_ID = "00f067aa0ba902b7"
NOTE, PROFILE, UNRECORDED = "a" * 32, "b" * 32, "c" * 32  # ids of traces


@dataclass
class Span:
    """A span as it was received."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    status: int
    attributes: dict[str, Any]

    @property
    def store(self) -> str:
        return self.attributes.get("db.system", "")


@dataclass
class Collector:
    """Accepts OTLP over HTTP."""

    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Span]:
        return [
            Span(
                span.name,
                span.kind,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.status.code,
                {
                    attribute.key: getattr(
                        attribute.value, attribute.value.WhichOneof("value") or "string_value"
                    )
                    for attribute in span.attributes
                },
            )
            for body in self.bodies
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]


@contextmanager
def collecting(port: int) -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Reply:
    """A reply of the site."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Site:
    """A site of one process; what it logs is in a file."""

    url: str
    log: Path

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; in the names of headers, underscores stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "User-Agent": SECRET,
                "X-User-Id": USER_ID,
                **named,
            },
        )
        with direct.open(request, timeout=20) as response:
            text, headers = response.read(), dict(response.headers.items())
            return Reply(response.status, headers, json.loads(text) if text else None)


def environment_of(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a process of the site on the tests' servers."""
    (folder / "metrics").mkdir()
    url = urlsplit(os.environ["DATABASE_URL"])
    return {
        **os.environ,
        "DATABASE_URL": url._replace(path=connection.settings_dict["NAME"]).geturl(),
        "CACHE_PREFIX": f"telemetry-{os.getpid()}",
        "ACTIVITY_SPOOL_DIR": str(folder / "spool"),
        "CACHE_SLOTS_DIR": str(folder / "slots"),
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "WEB_CPU_PINNING": "false",
        **variables,
    }


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[Site]:
    """Run a site; at the end of the block it is stopped as a service is, by SIGTERM."""
    port, log = process.free_port(), folder / "site.log"
    with log.open("wb") as sink:
        started = subprocess.Popen(
            site_command(port, workers=1, threads=8),
            cwd=ROOT,
            env=environment_of(folder, **variables),
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=process.die_with_parent,
        )
    site = Site(f"http://127.0.0.1:{port}", log)
    try:
        assert process.wait_until(lambda: is_answering(site.url, "/health/ready"), 60), (
            log.read_text()
        )
        yield site
    finally:
        process.end(process.psutil.Process(started.pid), process.signal.SIGTERM, 30)
        started.wait()


def traceparent(trace_id: str, flags: str = "01") -> str:
    return f"00-{trace_id}-{PARENT_ID}-{flags}"


@pytest.fixture(scope="module")
def session(django_db_setup, django_db_blocker) -> Iterator[str]:
    """The session of the user; what the sites of this module store is deleted afterwards."""
    with django_db_blocker.unblock():
        UserProfile.ensure_indexes()
        client = Client()
        client.force_login(User.objects.create_user(USER_ID))
        yield client.cookies["sessionid"].value
        call_command("flush", verbosity=0, interactive=False)
        UserProfile._get_collection().delete_many({"user_id": USER_ID})
        ActivityEvent._get_collection().delete_many({"user_id": USER_ID})


@dataclass
class Exported:
    """What a site has replied, logged and sent."""

    statuses_while_away: list[int]
    replies: dict[str, Reply]
    lines: list[dict[str, Any]]
    bodies: list[bytes]
    spans: list[Span]

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]


@pytest.fixture(scope="module")
def exported(session, tmp_path_factory) -> Exported:
    """
    At first nobody answers at the endpoint. What is left when the site is stopped is less than a batch.

    It would be sent ten minutes later, if not at the end.
    """
    port = process.free_port()
    variables = {
        "READS": "owner",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200",
    }
    with ExitStack() as stack:
        with running(tmp_path_factory.mktemp("telemetry"), **variables) as site:
            statuses = [site.send("POST", "/api/v1/notes", {"title": SECRET}).status]
            statuses += [
                site.send("GET", "/api/v1/notes?cache=false&limit=1").status for _ in range(100)
            ]
            assert process.wait_until(lambda: "Telemetry" in site.log.read_text(), 30)
            collector = stack.enter_context(collecting(port))
            replies = requests_of(site, session)
        lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    return Exported(statuses, replies, lines, collector.bodies, collector.spans())


def requests_of(site: Site, session: str) -> dict[str, Reply]:
    note = {"title": SECRET, "content": f"{SECRET} {SECRET}"}
    profile = {"user_id": USER_ID, "email": EMAIL, "preferences": {"language": "en"}}
    created = site.send("POST", "/api/v1/notes", note)
    path, profiles = f"/api/v1/notes/{created.body['id']}", "/api/v1/profiles"
    own = f"{profiles}/{USER_ID}"
    return {
        "created": created,
        "note": site.send("GET", path, traceparent=traceparent(NOTE)),
        "unrecorded": site.send(
            "GET", f"{path}?cache=false", traceparent=traceparent(UNRECORDED, "00")
        ),
        "search": site.send("GET", f"/api/v1/notes?q={SECRET}"),
        "new profile": site.send("POST", profiles, profile),
        "same address": site.send(
            "POST", profiles, profile | {"user_id": OTHER_USER_ID}, X_User_Id=OTHER_USER_ID
        ),
        "profile": site.send(
            "GET", own, traceparent=traceparent(PROFILE), Cookie=f"sessionid={session}"
        ),
        "malformed": site.send("GET", "/api/v1/notes?limit=0"),
        "host": site.send("GET", path, Host="elsewhere.example"),
        "probe": site.send("GET", "/health/live", Host="elsewhere.example"),
        "metrics": site.send("GET", "/api/v1/metrics/cache"),
    }


def below(span: Span, spans: list[Span]) -> list[Span]:
    return [other for other in spans if other.parent_id == span.span_id]


class TestColdRead:
    """One tree over three stores."""

    @pytest.mark.parametrize(
        ("trace_id", "namespace", "store", "session_stores"),
        [
            (NOTE, "notes", "postgresql", set()),
            (PROFILE, "user:profile", "mongodb", {"postgresql"}),
        ],
        ids=["note", "profile"],
    )
    def test_is_one_tree(self, exported, trace_id, namespace, store, session_stores):
        spans = exported.of(trace_id)
        [root] = [span for span in spans if span.kind == 2]  # SERVER
        operations = {
            span.name: span for span in below(root, spans) if span.name.startswith("cache ")
        }

        assert root.parent_id == PARENT_ID
        assert [
            (name, span.attributes["cache.namespace"], span.attributes["cache.outcome"])
            for name, span in operations.items()
        ] == [
            ("cache look", namespace, "absent"),
            ("cache begin", namespace, "leased"),
            ("cache load", namespace, "loaded"),
            ("cache end", namespace, "stored"),
        ]
        assert {
            name: {s.store for s in below(span, spans)} for name, span in operations.items()
        } == {
            "cache look": {"redis"},
            "cache begin": {"redis"},
            "cache load": {store},
            "cache end": {"redis"},
        }
        assert {span.store for span in below(root, spans)} - {"", "redis"} == session_stores
        ids = {span.span_id for span in spans} | {PARENT_ID}
        assert all(span.parent_id in ids for span in spans)

    def test_of_a_session_is_of_all_three_stores(self, exported):
        stores = {span.store for span in exported.of(PROFILE)}

        assert stores == {"", "redis", "postgresql", "mongodb"}


class TestValues:
    def test_are_in_no_span(self, exported):
        assert [exported.replies[name].status for name in ("created", "new profile")] == [201, 201]
        for body in exported.bodies:
            assert SECRET.lower().encode() not in body.lower()

    def test_statements_have_none(self, exported):
        statements = {
            span.attributes["db.statement"]
            for span in exported.spans
            if "db.statement" in span.attributes
        }

        assert any(text.startswith("SELECT") and "%s" in text for text in statements)
        assert any(text.startswith("MGET ?") for text in statements)
        assert "find" in statements
        assert not any("/*" in text for text in statements)  # nor the comment with the request's id

    def test_routes_stand_for_paths(self, exported):
        names = {span.name for span in exported.spans if span.kind == 2}

        assert {"GET api/v1/notes/<str:note_id>", "GET api/v1/profiles/<str:user_id>"} <= names


class TestTraceId:
    def test_of_problems_is_that_of_the_span(self, exported):
        trace_id = exported.replies["malformed"].body["trace_id"]
        [span] = [span for span in exported.of(trace_id) if span.kind == 2]

        assert span.attributes["http.status_code"] == 400

    def test_of_lines_is_that_of_the_span(self, exported):
        roots = {span.trace_id for span in exported.spans if span.kind == 2}
        of_api = [
            line for line in exported.lines if line.get("path", "").startswith("/api/v1/profiles")
        ]

        assert len(of_api) == 3
        assert {line["trace_id"] for line in of_api} <= roots
        assert {NOTE, PROFILE, UNRECORDED} <= {line.get("trace_id") for line in exported.lines}


class TestRecorded:
    def test_is_nothing_whose_caller_has_not_recorded_it(self, exported):
        assert exported.replies["unrecorded"].status == 200
        assert exported.of(UNRECORDED) == []

    def test_are_no_threads_in_the_background(self, exported):
        requests = {span.trace_id for span in exported.spans if span.kind == 2}

        assert {span.trace_id for span in exported.spans} == requests

    def test_are_no_probes(self, exported):
        assert not [span for span in exported.spans if "health" in span.name]

    def test_are_api_figures(self, exported):
        assert [span for span in exported.spans if span.name == "GET api/v1/metrics/cache"]


class TestReplies:
    def test_to_any_host_are_as_without(self, exported):
        assert exported.replies["probe"].status == 200
        assert exported.replies["host"].status == 400
        assert "request_id" in exported.replies["host"].body


class TestOff:
    def test_nothing_of_it_is_imported(self, session, tmp_path):
        code = (
            "import redis, sys; of_redis = set(sys.modules); import config.wsgi;"
            " print([name for name in sys.modules.keys() - of_redis"
            " if name.partition('.')[0] in ('opentelemetry', 'google')])"
        )
        environment = environment_of(tmp_path)
        environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


class TestAway:
    """Nobody answers at the endpoint."""

    def test_requests_go_on(self, exported):
        assert exported.statuses_while_away == [201] + [200] * 100

    def test_it_is_logged_once(self, exported):
        events = [line["event"] for line in exported.lines]
        loggers = {line.get("logger", "").partition(".")[0] for line in exported.lines}

        assert events.count("Telemetry unavailable") == 1
        assert "opentelemetry" not in loggers


class TestExporter:
    @pytest.fixture
    def spans(self):
        """Two ended spans."""
        kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        for _ in range(2):
            with provider.get_tracer("tests").start_as_current_span("a span"):
                pass
        return kept.get_finished_spans()

    class Endpoint(SpanExporter):
        """Answers, or does not."""

        def __init__(self, *results: SpanExportResult) -> None:
            self.results = list(results)

        def export(self, spans):
            return self.results.pop(0)

    def test_logs_each_change_once(self, spans):
        ok, failure = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
        exporter = Exporter(self.Endpoint(ok, failure, failure, ok, ok, failure))
        with capture_logs() as lines:
            for _ in range(6):
                exporter.export(spans)

        assert [line["event"] for line in lines] == [
            "Telemetry unavailable",
            "Telemetry available again",
            "Telemetry unavailable",
        ]

    def test_at_the_end_tries_once_where_nobody_answers(self, spans):
        endpoint = self.Endpoint(SpanExportResult.FAILURE, SpanExportResult.FAILURE)
        exporter = Exporter(endpoint)
        exporter.export(spans)
        exporter.begin_shutdown()

        assert [exporter.export(spans) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
        assert endpoint.results == []

    def test_at_the_end_sends_the_rest(self, spans):
        endpoint = self.Endpoint(SpanExportResult.SUCCESS)
        exporter = Exporter(endpoint)
        exporter.begin_shutdown()

        assert exporter.export(spans) is SpanExportResult.SUCCESS


class TestWithoutValues:
    def test_keeps_kinds_and_drops_messages(self):
        kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        attributes = {
            "http.url": f"http://localhost/?q={SECRET}",
            "db.statement": f"SELECT '{SECRET}', 17 /*request_id='{SECRET}'*/",
            "db.system": "postgresql",
        }
        with pytest.raises(ValueError, match=SECRET):  # noqa: SIM117
            with provider.get_tracer("tests").start_as_current_span(
                "SELECT", attributes=attributes
            ):
                raise ValueError(f"Key (email)=({SECRET}) already exists")
        [span] = kept.get_finished_spans()
        sent = without_values(span)

        assert SECRET not in sent.to_json()
        assert SECRET in span.to_json()
        assert sent.attributes == {"db.statement": "SELECT %s, %s", "db.system": "postgresql"}
        assert [event.attributes for event in sent.events] == [{"exception.type": "ValueError"}]
        assert (sent.context, sent.start_time, sent.end_time, sent.status.status_code) == (
            span.context,
            span.start_time,
            span.end_time,
            StatusCode.ERROR,
        )


class TestWholeRequests:
    def test_record_what_is_below_a_recorded_request_alone(self):
        kept = InMemorySpanExporter()
        provider = TracerProvider(sampler=WholeRequests(ALWAYS_ON), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        tracer = provider.get_tracer("tests")
        with tracer.start_as_current_span("alone"), tracer.start_as_current_span("below it"):
            pass
        with (
            tracer.start_as_current_span("request", kind=SpanKind.SERVER),
            tracer.start_as_current_span("below the request"),
        ):
            pass

        assert [span.name for span in kept.get_finished_spans()] == ["below the request", "request"]
