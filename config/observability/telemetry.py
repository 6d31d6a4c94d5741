"""
Spans of requests by OpenTelemetry, sent by OTLP over HTTP (docs/adr/0030-opentelemetry.md).

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set: requirements-otel.txt is optional.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.util import Finalize
from typing import Any, Final

import structlog
from django.conf import settings
from django.http import HttpRequest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind, Status
from opentelemetry.util.types import Attributes

from cachelayer import hooks
from config.observability import logs, statements
from config.web.trace_context import log_fields

log = structlog.get_logger("telemetry")

# The attributes that are sent, by their names before and after OTEL_SEMCONV_STABILITY_OPT_IN. Whatever
# else an instrumentation adds, such as URLs, addresses and user agents, is left out.
ATTRIBUTES: Final = frozenset(
    {
        *("cache.namespace", "cache.outcome", "error.type"),
        *("http.method", "http.route", "http.scheme", "http.status_code", "http.flavor"),
        *("http.request.method", "http.response.status_code", "url.scheme"),
        *("network.protocol.version", "net.peer.name", "net.peer.port", "server.address"),
        *("server.port", "db.system", "db.system.name", "db.name", "db.namespace"),
        *("db.mongodb.collection", "db.collection.name", "db.operation.name"),
        *("db.redis.database_index", "db.redis.args_length", "db.redis.pipeline_length"),
    }
)
STATEMENTS: Final = frozenset({"db.statement", "db.query.text"})  # sent without their values
_OF_EXCEPTIONS: Final = frozenset(
    {"exception.type"}
)  # a message has values, such as a key that is not unique
# The first middleware that may use a store, below the one that lets probes send any Host.
_FIRST_OF_STORES: Final = "config.web.sessions.SessionMiddleware"
_SHAPES_MAX: Final = 1_000  # of statements: to make one takes as long as to record a span
_PROBES: Final = r"^https?://[^/]+/(health|metrics)\b"


def start() -> None:
    """
    Record spans in this process: call it once, after any fork, before Django is set up.

    OTEL_TRACES_SAMPLER, OTEL_BSP_* and the other standard variables count. At the end of the process what is
    left is sent, unless nobody answers.
    """
    name = OTELResourceDetector().detect().attributes.get(SERVICE_NAME, "trilith")
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
    )
    provider.sampler = WholeRequests(provider.sampler)
    exporter = Exporter(OTLPSpanExporter(timeout=settings.OTEL_EXPORTER_OTLP_TIMEOUT))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    instrument(provider)

    def finish() -> None:
        exporter.begin_shutdown()
        provider.shutdown()

    # Not atexit: multiprocessing, whose processes granian's workers are, leaves that out after a fork.
    Finalize(None, finish, exitpriority=0)


def instrument(provider: TracerProvider) -> None:
    """Have Django, the drivers and cachelayer make their spans by the provider."""
    DjangoInstrumentor().instrument(
        tracer_provider=provider,
        request_hook=_adopt,
        excluded_urls=_PROBES,
        middleware_position=settings.MIDDLEWARE.index(_FIRST_OF_STORES),
    )
    PsycopgInstrumentor().instrument(tracer_provider=provider)
    PymongoInstrumentor().instrument(tracer_provider=provider)
    RedisInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("cachelayer")

    @contextmanager
    def observe(operation: hooks.Operation, namespace: str) -> Iterator[hooks.Report]:
        attributes = {"cache.namespace": namespace}
        with tracer.start_as_current_span(f"cache {operation}", attributes=attributes) as span:
            yield lambda outcome: span.set_attribute("cache.outcome", outcome)

    hooks.observe = observe


def _adopt(span: Span, request: HttpRequest) -> None:
    """Give the request's problems and log lines the id of its trace, which is its caller's, if any."""
    context = span.get_span_context()
    if context.is_valid:  # not with OTEL_SDK_DISABLED
        trace_id = trace.format_trace_id(context.trace_id)
        request.trace_id = trace_id  # type: ignore[attr-defined]  # as RequestContextMiddleware does
        logs.request_fields.set(log_fields(request.request_id, trace_id))  # type: ignore[attr-defined]


class WholeRequests(Sampler):
    """
    Asks another sampler once for each request; all that is below it is recorded with it, or not.

    What belongs to no request, as of the threads in the background, is not recorded.
    """

    def __init__(self, sampler_of_requests: Sampler) -> None:
        self._of_requests = sampler_of_requests

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        *rest: Any,
        **more: Any,
    ) -> SamplingResult:
        """Return whether a span is recorded, as the SDK asks."""
        if kind is SpanKind.SERVER:
            return self._of_requests.should_sample(
                parent_context, trace_id, name, kind, attributes, *rest, **more
            )
        parent = trace.get_current_span(parent_context)
        decision = Decision.RECORD_AND_SAMPLE if parent.is_recording() else Decision.DROP
        return SamplingResult(decision, attributes, parent.get_span_context().trace_state)

    def get_description(self) -> str:
        """Return what the SDK may log."""
        return f"WholeRequests({self._of_requests.get_description()})"


class Exporter(SpanExporter):
    """Sends spans without values by another exporter, and logs once that it fails, or succeeds again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_away = False
        self._is_stopping = False
        self._has_given_up = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans; where that fails they are dropped."""
        if self._has_given_up:
            return SpanExportResult.FAILURE
        result = self._exporter.export([without_values(span) for span in spans])
        is_away = result is not SpanExportResult.SUCCESS
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("Telemetry unavailable" if is_away else "Telemetry available again")
        self._has_given_up = is_away and self._is_stopping
        return result

    def begin_shutdown(self) -> None:
        """Drop the rest once an attempt to send has failed, so that the process ends soon."""
        self._is_stopping = True

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing waits here."""
        return True


def without_values(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of an ended span that has nobody's data: of an allow-list, so of whatever kind they are."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_sent(span.attributes or {}),
        events=[
            Event(event.name, _only(_OF_EXCEPTIONS, event.attributes or {}), event.timestamp)
            for event in span.events
        ],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _sent(attributes: Mapping[str, Any]) -> dict[str, Any]:
    sent = _only(ATTRIBUTES, attributes)
    for name in STATEMENTS & attributes.keys():
        sent[name] = _shape(attributes[name].partition(statements.COMMENT)[0])
    return sent


@lru_cache(_SHAPES_MAX)
def _shape(statement: str) -> str:
    return statements.sql_shape(statement)[: statements.STATEMENT_CHARACTERS]


def _only(names: frozenset[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name in names}
