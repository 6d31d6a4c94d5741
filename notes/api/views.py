"""The notes endpoints: parse, one domain call, present."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from cachelayer import http
from cachelayer.http import UNCONDITIONAL, Preconditions, Representation
from config.web import idempotency, paging
from config.web.authentication import NotReadable, only_readable_user
from config.web.idempotency import idempotent_request
from config.web.openapi import (
    CACHE,
    CACHE_STATUS,
    CURSOR_PATTERN,
    ETAG,
    IDEMPOTENCY,
    KEY_CONFLICTS,
    LINK,
    LOCATION,
    NOT_MODIFIED,
    OWNERS_ERRORS,
    PRECONDITIONS,
    UNKNOWN,
)
from config.web.query import parse_single
from config.web.serializers import trimmed_pattern, validated_body
from config.web.user_ids import USER_ID_PATTERN
from config.web.views import CachedView
from notes import records, selectors, services
from notes.api import query
from notes.api.query import SEARCH_MAX_CHARACTERS, SORTS
from notes.api.serializers import (
    ID_PATTERN,
    NoteChange,
    NoteCreate,
    NoteOutput,
    NotePage,
    NoteReplace,
    is_note_id,
)
from notes.paging import DEFAULT_LIMIT, DEFAULT_SORT, MAX_LIMIT, MAX_PAGE
from notes.services import NewNote

_ID: Final = OpenApiParameter(
    "note_id",
    {"type": "string", "format": "uuid", "pattern": ID_PATTERN},
    OpenApiParameter.PATH,
)
_USER_ID: Final = {"type": "string", "pattern": USER_ID_PATTERN}
_LIST_PARAMETERS: Final = [
    OpenApiParameter("userId", _USER_ID, description="Notes of this user only."),
    OpenApiParameter("user_id", _USER_ID, description="Another name of userId; not with it."),
    OpenApiParameter(
        "q",
        {"type": "string", "pattern": trimmed_pattern(SEARCH_MAX_CHARACTERS)},
        description="Words in the title, as in a web search (English): at most "
        f"{SEARCH_MAX_CHARACTERS} characters. Not with cursor.",
    ),
    # No default where a parameter excludes another: generated clients send their defaults.
    OpenApiParameter(
        "page",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
        description="By default 1. Not with cursor.",
    ),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    OpenApiParameter("sort", str, enum=SORTS, default=DEFAULT_SORT),
    OpenApiParameter(
        "count",
        bool,
        description="false leaves the count out. By default true. Not with cursor.",
    ),
    OpenApiParameter(
        "cursor",
        {"type": "string", "pattern": CURSOR_PATTERN},
        description="By keyset instead of by page: empty starts, then what next and previous carry, "
        "with the same userId and sort.",
    ),
    CACHE,
    ETAG,
    CACHE_STATUS,
    LINK,
]


class NoteListView(CachedView):
    """The list of notes, of all users or of one."""

    @extend_schema(
        operation_id="notes_list",
        parameters=_LIST_PARAMETERS,
        responses={200: NotePage, 304: NOT_MODIFIED},
    )
    def get(self, request: Request) -> HttpResponse:
        """List notes, newest first unless sort says otherwise."""
        requested = query.parse_list(request.query_params, only_user=only_readable_user(request))
        page = self.read(request, selectors.note_list_read(query=requested))
        if page is None:
            raise AssertionError("a list is never absent")
        return self.respond(request._request, page)

    def presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        return lambda stored: http.with_links(stored, _links(request, stored))

    def respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        response = super().respond(request, stored)
        header = paging.link_header(_links(request, stored))
        if header:
            response.headers["Link"] = header
        return response

    @extend_schema(
        operation_id="notes_create",
        parameters=[*PRECONDITIONS, *IDEMPOTENCY, ETAG, LOCATION],
        request=NoteCreate,
        responses={201: NoteOutput, **KEY_CONFLICTS},
    )
    def post(self, request: Request) -> HttpResponse:
        """Create a note of the caller; with an Idempotency-Key, once however often it is repeated."""
        fields = validated_body(request, NoteCreate)
        user_id, repeatable = request.user.get_username(), idempotent_request(request)
        preconditions = http.preconditions_of(request.META)
        require = (
            None if preconditions == UNCONDITIONAL else partial(self._require_list, preconditions)
        )
        replayed = False
        if repeatable is None:
            if require is not None:
                require()
            note_id, note = services.note_create(user_id=user_id, **fields)
        else:
            [created], replayed = services.notes_create(
                user_id=user_id, notes=[NewNote(**fields)], request=repeatable, require=require
            )
            note_id, note = created.id, records.representation(created)
        response = http.answer(note, status=HTTPStatus.CREATED)
        host = f"{request.scheme}://{request.get_host()}"
        response.headers["Location"] = f"{host}{request.path}/{note_id}"
        return idempotency.marked(response, replayed=replayed)

    def _require_list(self, preconditions: Preconditions) -> None:
        """Raise PreconditionFailed unless the first page is as the request requires it to be."""
        first = query.parse_list(QueryDict(), only_user=only_readable_user(self.request))
        page = selectors.note_list_read(query=first).get().value
        etag = self.presenter(self.request._request)(page).etag if page else None
        preconditions.require(etag)


class NoteView(CachedView):
    """One note."""

    @extend_schema(
        operation_id="notes_retrieve",
        parameters=[_ID, CACHE, ETAG, CACHE_STATUS],
        responses={200: NoteOutput, 304: NOT_MODIFIED, 404: UNKNOWN},
    )
    def get(self, request: Request, note_id: str) -> HttpResponse:
        """Return the note, from the cache where its copy is valid."""
        parse_single(request)
        only_user = only_readable_user(request)
        source = selectors.note_read(note_id=_parsed(note_id))
        note = self.read(request, source, needs_body=only_user is not None)
        if note is None:
            raise _not_found(note_id)
        if only_user is not None and selectors.note_owner(note=note) != only_user:
            raise NotReadable("The note belongs to another user.")
        return self.respond(request._request, note)

    @extend_schema(
        operation_id="notes_replace",
        parameters=[_ID, *PRECONDITIONS, ETAG],
        request=NoteReplace,
        responses={200: NoteOutput, **OWNERS_ERRORS},
    )
    def put(self, request: Request, note_id: str) -> HttpResponse:
        """Replace title and content of the caller's note."""
        return self._change(request, note_id, NoteReplace)

    @extend_schema(
        operation_id="notes_change",
        parameters=[_ID, *PRECONDITIONS, ETAG],
        request=NoteChange,
        responses={200: NoteOutput, **OWNERS_ERRORS},
    )
    def patch(self, request: Request, note_id: str) -> HttpResponse:
        """Change title, content or both of the caller's note."""
        return self._change(request, note_id, NoteChange)

    @extend_schema(
        operation_id="notes_delete",
        parameters=[_ID, *PRECONDITIONS],
        responses={204: None, **OWNERS_ERRORS},
    )
    def delete(self, request: Request, note_id: str) -> HttpResponse:
        """Delete the caller's note."""
        services.note_delete(
            note_id=_parsed(note_id),
            caller=request.user.get_username(),
            preconditions=http.preconditions_of(request.META),
        )
        return Response(status=HTTPStatus.NO_CONTENT)  # without a Content-Type

    def _change(
        self, request: Request, note_id: str, form: type[NoteReplace | NoteChange]
    ) -> HttpResponse:
        parsed_id = _parsed(note_id)
        fields = validated_body(request, form)
        note = services.note_update(
            note_id=parsed_id,
            caller=request.user.get_username(),
            preconditions=http.preconditions_of(request.META),
            **fields,
        )
        return http.answer(note)


def _parsed(note_id: str) -> UUID:
    """Return the id of the path. Raises NoteNotFound where it is malformed."""
    if not is_note_id(note_id):
        raise _not_found(note_id)
    return UUID(note_id)


def _not_found(note_id: str) -> services.NoteNotFound:
    return services.NoteNotFound(f"There is no note {note_id}.")


def _links(request: HttpRequest, page: Representation) -> dict[str, str | None]:
    return paging.links(request, next_query=page.next_query, previous_query=page.previous_query)
