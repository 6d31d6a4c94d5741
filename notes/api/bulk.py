"""Notes created and deleted by the hundred: one transaction, and a result for each."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request

from cachelayer import http
from config.web import idempotency
from config.web.idempotency import idempotent_request
from config.web.openapi import IDEMPOTENCY, KEY_CONFLICTS, PRECONDITIONS
from config.web.reuse import about
from config.web.serializers import validated_body
from config.web.views import View
from notes import records, services
from notes.api.serializers import NotesCreate, NotesCreated, NotesDelete, NotesDeleted
from notes.records import NoteRecord
from notes.services import NewNote

_ID: Final = "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"
_OTHER_ID: Final = "8e03978e-40d5-43dd-bc93-6894a57f9324"
_STATUS: Final = {
    "deleted": HTTPStatus.NO_CONTENT,
    "not-owner": HTTPStatus.FORBIDDEN,
    "not-found": HTTPStatus.NOT_FOUND,
}


class BulkCreateView(View):
    """New notes, all of them or none."""

    @extend_schema(
        operation_id="notes_bulk_create",
        parameters=[*PRECONDITIONS, *IDEMPOTENCY],
        request=NotesCreate,
        responses={201: NotesCreated, **KEY_CONFLICTS},
        examples=[
            OpenApiExample(
                "two notes",
                {"notes": [{"title": "First", "content": "Words"}, {"title": "Second"}]},
                request_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Create 1 to 100 notes of the caller in one transaction: all of them, or none where one is not valid."""
        fields = validated_body(request, NotesCreate)
        repeatable = idempotent_request(request)
        _require_nothing(request)
        notes, replayed = services.notes_create(
            user_id=request.user.get_username(),
            notes=[NewNote(**note) for note in fields["notes"]],
            request=repeatable,
        )
        response = _respond(HTTPStatus.CREATED, [_created(note) for note in notes])
        about(response, [str(note.id) for note in notes])
        return idempotency.marked(response, replayed=replayed)


class BulkDeleteView(View):
    """Notes to delete."""

    @extend_schema(
        operation_id="notes_bulk_delete",
        parameters=PRECONDITIONS,
        request=NotesDelete,
        responses={200: NotesDeleted},
        examples=[
            OpenApiExample("two notes", {"ids": [_ID, _OTHER_ID]}, request_only=True),
            OpenApiExample(
                "one deleted, one of another user",
                {"results": [{"id": _ID, "status": 204}, {"id": _OTHER_ID, "status": 403}]},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """
        Delete those of 1 to 100 notes that belong to the caller, in one transaction.

        The status of each is that of its own DELETE: 204, 403 or 404. Repeating it is safe: what is deleted is a 404.
        """
        ids: list[UUID] = validated_body(request, NotesDelete)["ids"]
        _require_nothing(request)
        results = services.notes_delete(note_ids=ids, caller=request.user.get_username())
        response = _respond(
            HTTPStatus.OK,
            [
                {"id": note_id, "status": _STATUS[result]}
                for note_id, result in zip(ids, results, strict=True)
            ],
        )
        deleted = [
            note_id for note_id, result in zip(ids, results, strict=True) if result == "deleted"
        ]
        about(response, [str(note_id) for note_id in deleted])
        return response


def _require_nothing(request: Request) -> None:
    """Raise PreconditionFailed for any If-Match: there is no representation that it could name."""
    http.preconditions_of(request.META).require(None)


def _created(note: NoteRecord) -> dict[str, Any]:
    representation = records.representation(note)
    return {
        "status": HTTPStatus.CREATED,
        "etag": representation.etag,
        "note": msgspec.Raw(representation.body),
    }


def _respond(status: HTTPStatus, results: Sequence[dict[str, Any]]) -> HttpResponse:
    return HttpResponse(
        msgspec.json.encode({"results": results}),
        content_type="application/json",
        status=status,
        headers={"Cache-Control": "no-store"},
    )
