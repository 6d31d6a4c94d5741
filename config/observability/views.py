"""Endpoints for operators: metrics, and explaining and clearing the cache."""

from typing import Any, ClassVar, Final

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cachelayer import explain, stats
from cachelayer.client import CacheDown
from cachelayer.http import preconditions_of
from cachelayer.invalidation import clear
from cachelayer.namespace import NoSuchKey, declared, named
from config.observability import access, database_metrics, serializers
from config.observability.probes import ProbeView
from config.web.authentication import IsStaff, StaffAuthentication
from config.web.openapi import PRECONDITIONS
from config.web.parsers import body_of
from config.web.query import Parameters
from config.web.serializers import NoFields, validated_body
from config.web.views import View

_NOT_STORED = {"Cache-Control": "no-store"}
_NAMES: Final = [namespace.name for namespace in declared()]
_NAMESPACE: Final = OpenApiParameter("namespace", str, enum=_NAMES, description="All if omitted.")
_KEY: Final = OpenApiParameter(
    "key",
    {"type": "string", "pattern": f"^({'|'.join(f'{n.prefix}({n.member})' for n in declared())})$"},
    required=True,
    description="Such as notes:{id}.",
)
_NOT_STAFF: Final = OpenApiResponse(
    description="The address is not listed, and there are no credentials."
)


class _MetricsView(View):
    authentication_classes = [access.ListedOrStaffAuthentication]
    permission_classes = [access.IsListedOrStaff]


class CacheMetricsView(_MetricsView):
    """Metrics of the cache."""

    @extend_schema(
        operation_id="metrics_cache", responses={200: serializers.CacheMetrics, 401: _NOT_STAFF}
    )
    def get(self, request: Request) -> Response:
        """Return hits, misses, loads, timings, memory and outbox, over all processes."""
        Parameters(request.query_params, known=()).end()
        return Response(stats.cache_figures(), headers=_NOT_STORED)


class StoreMetricsView(_MetricsView):
    """Metrics of the databases."""

    @extend_schema(
        operation_id="metrics_db", responses={200: serializers.DatabaseMetrics, 401: _NOT_STAFF}
    )
    def get(self, request: Request) -> Response:
        """Return pools, latencies and errors of PostgreSQL and MongoDB, over all processes."""
        Parameters(request.query_params, known=()).end()
        return Response(database_metrics.snapshot(), headers=_NOT_STORED)


class _StaffView(View):
    authentication_classes = [StaffAuthentication]
    permission_classes = [IsStaff]


class CacheExplainView(_StaffView):
    """One key of the cache."""

    @extend_schema(
        operation_id="cache_explain",
        parameters=[_KEY],
        responses={200: serializers.CacheExplanation},
    )
    def get(self, request: Request) -> Response:
        """Say whether a key is cached, what it depends on, and why it last missed."""
        parameters = Parameters(request.query_params, known=("key",))
        parameters.end()
        name = parameters.text("key")
        if not name:
            raise ValidationError(
                {"key": [ErrorDetail("Give a key such as notes:{id}.", "required")]}
            )
        try:
            return Response(explain.explain(name), headers=_NOT_STORED)
        except NoSuchKey as exc:
            raise ValidationError({"key": [ErrorDetail(str(exc), "invalid")]}) from exc
        except CacheDown:
            unknown = dict.fromkeys(serializers.CacheExplanation().fields)
            known = {"key": name, "cached": False, "reason": "cache-down"}
            return Response(unknown | known, headers=_NOT_STORED)


class CacheClearView(_StaffView):
    """The whole cache, or one of its namespaces."""

    query_of_writes = ("namespace",)

    _DOCUMENTED: ClassVar[dict[str, Any]] = {
        "parameters": [_NAMESPACE, *PRECONDITIONS],
        "request": None,
        "responses": {200: serializers.CacheCleared},
    }

    @extend_schema(operation_id="cache_clear", **_DOCUMENTED)
    def post(self, request: Request) -> Response:
        """Invalidate every entry: one delete for each namespace, however many entries it has."""
        return self._clear(request)

    @extend_schema(operation_id="cache_delete", **_DOCUMENTED)
    def delete(self, request: Request) -> Response:
        """Do the same as POST."""
        return self._clear(request)

    def _clear(self, request: Request) -> Response:
        # A namespace there must not clear them all. Clients that always send a form send an empty one.
        is_form = request.content_type.lower().startswith("multipart/form-data")
        if request.stream is not None and not is_form and body_of(request) is not None:
            validated_body(request, NoFields)
        name = request.query_params.get("namespace")
        try:
            namespaces = [named(name)] if name is not None else list(declared())
        except NoSuchKey as exc:
            raise ValidationError({"namespace": [ErrorDetail(str(exc), "invalid")]}) from exc
        preconditions_of(request.META).require(None)  # there is no representation to match
        return Response({"cleared": clear(namespaces, cleared_by=request.user.get_username())})


class PrometheusView(ProbeView):
    """All metrics, for Prometheus."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the metrics of all processes in Prometheus' text format."""
        return access.refusal(request) or HttpResponse(
            stats.as_prometheus() + generate_latest(database_metrics.PresentState()),
            content_type=CONTENT_TYPE_LATEST,
            headers=_NOT_STORED,
        )
