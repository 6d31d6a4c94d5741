"""What operators ask over HTTP: figures of the cache, one key explained, namespaces cleared."""

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import explaining, figures
from cachelayer.client import CacheDown
from cachelayer.http import preconditions_of
from cachelayer.invalidation import clear
from cachelayer.namespaces import NoSuchKey, declared, named
from config import stores
from config.authentication import IsStaff, StaffAuthentication
from config.probes import ProbeView

_NOT_STORED = {"Cache-Control": "no-store"}
_OBJECT = {"type": "object", "additionalProperties": True}


class CacheMetricsView(APIView):
    """The cache in figures."""

    @extend_schema(operation_id="metrics_cache", responses={200: _OBJECT})
    def get(self, request: Request) -> Response:
        """Return hits, misses, loads, timings, memory and outbox, over all processes."""
        return Response(figures.cache_figures(), headers=_NOT_STORED)


class StoreMetricsView(APIView):
    """The databases in figures."""

    @extend_schema(operation_id="metrics_db", responses={200: _OBJECT})
    def get(self, request: Request) -> Response:
        """Return pools, latencies and errors of PostgreSQL and MongoDB, over all processes."""
        return Response(stores.store_figures(), headers=_NOT_STORED)


class _StaffView(APIView):
    authentication_classes = [StaffAuthentication]
    permission_classes = [IsStaff]


class CacheExplainView(_StaffView):
    """One key of the cache."""

    @extend_schema(
        operation_id="cache_explain",
        parameters=[OpenApiParameter("key", str, required=True, description="Such as notes:{id}.")],
        responses={200: _OBJECT},
    )
    def get(self, request: Request) -> Response:
        """Say whether a key is cached, what it depends on, and why it last missed."""
        name = _only(request, "key")
        if not name:
            raise ValidationError(
                {"key": [ErrorDetail("Give a key such as notes:{id}.", "required")]}
            )
        try:
            return Response(explaining.explain(name), headers=_NOT_STORED)
        except NoSuchKey as exc:
            raise ValidationError({"key": [ErrorDetail(str(exc), "invalid")]}) from exc
        except CacheDown:
            told = {"key": name, "cached": False, "reason": "cache-down"}
            return Response(told, headers=_NOT_STORED)


class CacheClearView(_StaffView):
    """The cache as a whole, or one namespace of it."""

    _DOCUMENTED: ClassVar[dict[str, Any]] = {
        "parameters": [OpenApiParameter("namespace", str, description="All, where left out.")],
        "request": None,
        "responses": {200: _OBJECT},
    }

    @extend_schema(operation_id="cache_clear", **_DOCUMENTED)
    def post(self, request: Request) -> Response:
        """Make every entry unservable: one delete each namespace, however many entries."""
        return self._clear(request)

    @extend_schema(operation_id="cache_delete", **_DOCUMENTED)
    def delete(self, request: Request) -> Response:
        """Do the same as POST."""
        return self._clear(request)

    def _clear(self, request: Request) -> Response:
        name = _only(request, "namespace")
        try:
            wanted = [named(name)] if name is not None else list(declared())
        except NoSuchKey as exc:
            raise ValidationError({"namespace": [ErrorDetail(str(exc), "invalid")]}) from exc
        preconditions_of(request.headers).require(None)  # there is nothing here to be represented
        return Response({"cleared": clear(wanted, cleared_by=request.user.get_username())})


def _only(request: Request, name: str) -> str | None:
    """Return the one parameter that there may be. Raises ValidationError that names any other."""
    unknown = {
        other: [ErrorDetail(f"Unknown parameter; known is {name}.", "unknown")]
        for other in request.query_params
        if other != name
    }
    if unknown:
        raise ValidationError(unknown)
    value: str | None = request.query_params.get(name)
    return value


class PrometheusView(ProbeView):
    """All that is counted, for Prometheus."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the figures of all processes in Prometheus' text format."""
        return HttpResponse(
            figures.as_prometheus() + generate_latest(stores.PresentState()),
            content_type=CONTENT_TYPE_LATEST,
            headers=_NOT_STORED,
        )
