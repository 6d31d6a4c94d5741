"""The notes endpoints: parse, one domain call, present."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import http
from cachelayer.answers import Bypass, Cached
from cachelayer.entries import Found
from cachelayer.http import Representation
from notes import selectors, services
from notes.api import query
from notes.api.serializers import NoteChange, NoteCreate, NoteOutput, NotePage, NoteReplace

_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="412 unless it names the note's ETag."
)
_IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="304 where it names the current ETag.",
)
_CACHE = OpenApiParameter(
    "cache", bool, description="false: answer from PostgreSQL, and refresh the cached copy."
)
_NOT_MODIFIED = OpenApiResponse(description="The copy that the client has is current.")
_LIST_PARAMETERS = [
    OpenApiParameter("userId", str, description="Notes of this user only; user_id means the same."),
    OpenApiParameter("q", str, description="Words in the title, as in a web search (English)."),
    OpenApiParameter("page", {"type": "integer", "minimum": 1, "default": 1}),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
    OpenApiParameter(
        "sort",
        str,
        enum=[
            f"{field}:{way}"
            for field in ("created_at", "updated_at", "title")
            for way in ("ASC", "DESC")
        ],
        default="created_at:DESC",
    ),
    OpenApiParameter("count", bool, description="false leaves the count out.", default=True),
    OpenApiParameter(
        "cursor",
        str,
        description="By keyset instead of page: empty starts, then what next and previous carry. "
        "Not together with q, page or count.",
    ),
    _CACHE,
    _IF_NONE_MATCH,
]


class _CachedView(APIView):
    """
    An endpoint whose GET is answered from the cache, where it can be, before DRF is set in motion.

    Whatever is out of the ordinary (a miss, an error, a wish to bypass) is left to the handler.
    On its answer, also on an error, stands what the cache had to do with it.
    """

    cached: Cached[Any] | None = None  # set by a handler that has read through the cache
    looked: Found[Representation] | None = None  # what the attempt has found, for the handler

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method == "GET" and "Cache-Control" not in request.headers:
            try:
                response = self._from_cache(request, **kwargs)
            except (APIException, services.NoteNotFound):
                response = None  # the handler will meet it again, and answer
            if response is not None:
                return response
        return super().dispatch(request, *args, **kwargs)

    def _from_cache(self, request: HttpRequest, **kwargs: str) -> HttpResponse | None:
        if_none_match = request.headers.get("If-None-Match")
        present = self._presenter(request)

        def accepts(stored: Representation) -> bool:
            return if_none_match is None or http.not_modified(if_none_match, present(stored).etag)

        for authenticator in self.get_authenticators():
            authenticator.authenticate(request)  # type: ignore[arg-type]  # reads headers alone
        cached, self.looked = self._try(request, accepts, if_none_match is not None, **kwargs)
        if cached is None or cached.value is None:
            return None
        response = self._respond(request, cached.value)
        response.headers["Cache-Status"] = http.cache_status(cached)
        return response

    def _try(
        self, request: HttpRequest, accepts: selectors.Accepts, head_only: bool, **kwargs: str
    ) -> selectors.Tried:
        """Look for a fresh copy of what is asked for. Raises what parsing it raises."""
        raise NotImplementedError

    def _presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        """Return what makes of the stored what is sent."""
        return lambda stored: stored

    def _respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        """Return the answer: the stored bytes, or 304."""
        return http.answer(
            self._presenter(request)(stored), if_none_match=request.headers.get("If-None-Match")
        )

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.cached is not None:
            final.headers["Cache-Status"] = http.cache_status(self.cached)
        return final


class NoteListView(_CachedView):
    """All notes, or one user's."""

    @extend_schema(
        operation_id="notes_list",
        parameters=_LIST_PARAMETERS,
        responses={200: NotePage, 304: _NOT_MODIFIED},
    )
    def get(self, request: Request) -> HttpResponse:
        """List notes, newest first unless sort says otherwise."""
        wanted = query.parse_list(request.query_params)
        self.cached = cached = selectors.note_list(
            query=wanted, bypass=_bypass(request), looked=self.looked
        )
        if cached.value is None:
            raise AssertionError("a list is never absent")
        return self._respond(request._request, cached.value)

    def _try(
        self, request: HttpRequest, accepts: selectors.Accepts, head_only: bool, **kwargs: str
    ) -> selectors.Tried:
        if "cache" in request.GET:
            return None, None
        wanted = query.parse_list(request.GET)
        return selectors.note_list_try(query=wanted, accepts=accepts, head_only=head_only)

    def _presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        return lambda stored: http.with_links(stored, _links(request, stored))

    def _respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        response = super()._respond(request, stored)
        header = ", ".join(
            f'<{url}>; rel="{rel}"' for rel, url in _links(request, stored).items() if url
        )
        if header:
            response.headers["Link"] = header
        return response

    @extend_schema(operation_id="notes_create", request=NoteCreate, responses={201: NoteOutput})
    def post(self, request: Request) -> HttpResponse:
        """Create a note of the caller."""
        body = NoteCreate(data=request.data)
        body.is_valid(raise_exception=True)
        note_id, note = services.note_create(
            user_id=request.user.get_username(), **body.validated_data
        )
        response = http.answer(note, if_none_match=None, status=HTTPStatus.CREATED)
        response.headers["Location"] = request.build_absolute_uri(f"{request.path}/{note_id}")
        return response


class NoteView(_CachedView):
    """One note."""

    @extend_schema(
        operation_id="notes_retrieve",
        parameters=[_CACHE, _IF_NONE_MATCH],
        responses={200: NoteOutput, 304: _NOT_MODIFIED},
    )
    def get(self, request: Request, note_id: str) -> HttpResponse:
        """Return the note, from the cache where its copy is valid."""
        query.parse_single(request.query_params)
        self.cached = cached = selectors.note_get(
            note_id=_parsed(note_id), bypass=_bypass(request), looked=self.looked
        )
        if cached.value is None:
            raise _not_found(note_id)
        return self._respond(request._request, cached.value)

    def _try(
        self, request: HttpRequest, accepts: selectors.Accepts, head_only: bool, **kwargs: str
    ) -> selectors.Tried:
        if request.META.get("QUERY_STRING"):
            return None, None
        note_id = _parsed(kwargs["note_id"])
        return selectors.note_try(note_id=note_id, accepts=accepts, head_only=head_only)

    @extend_schema(
        operation_id="notes_replace",
        parameters=[_IF_MATCH],
        request=NoteReplace,
        responses={200: NoteOutput},
    )
    def put(self, request: Request, note_id: str) -> HttpResponse:
        """Replace title and content of the caller's note."""
        return self._change(request, note_id, NoteReplace)

    @extend_schema(
        operation_id="notes_change",
        parameters=[_IF_MATCH],
        request=NoteChange,
        responses={200: NoteOutput},
    )
    def patch(self, request: Request, note_id: str) -> HttpResponse:
        """Change title, content or both of the caller's note."""
        return self._change(request, note_id, NoteChange)

    @extend_schema(operation_id="notes_delete", parameters=[_IF_MATCH], responses={204: None})
    def delete(self, request: Request, note_id: str) -> HttpResponse:
        """Delete the caller's note."""
        services.note_delete(
            note_id=_parsed(note_id),
            caller=request.user.get_username(),
            if_match=request.headers.get("If-Match"),
        )
        return HttpResponse(status=HTTPStatus.NO_CONTENT)

    def _change(
        self, request: Request, note_id: str, form: type[NoteReplace | NoteChange]
    ) -> HttpResponse:
        wanted = _parsed(note_id)
        body = form(data=request.data)
        body.is_valid(raise_exception=True)
        note = services.note_update(
            note_id=wanted,
            caller=request.user.get_username(),
            if_match=request.headers.get("If-Match"),
            **body.validated_data,
        )
        return http.answer(note, if_none_match=None)


def _parsed(note_id: str) -> UUID:
    """Return the id of the path. Raises NoteNotFound: no note has a malformed one."""
    if not _UUID.fullmatch(note_id):
        raise _not_found(note_id)
    return UUID(note_id)


def _not_found(note_id: str) -> services.NoteNotFound:
    return services.NoteNotFound(f"There is no note {note_id}.")


def _bypass(request: Request) -> Bypass:
    return http.bypass_of(request.headers, cache_parameter=request.query_params.get("cache"))


def _links(request: HttpRequest, page: Representation) -> dict[str, str | None]:
    base = request.build_absolute_uri(request.path)
    return {
        "next": f"{base}?{page.next_query}" if page.next_query is not None else None,
        "previous": f"{base}?{page.previous_query}" if page.previous_query is not None else None,
    }
