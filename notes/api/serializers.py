"""What a note may be written with, and its shape in the schema."""

import re
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from config.web.serializers import BoundedListField, StrictSerializer, TextField
from config.web.user_ids import USER_ID_PATTERN
from notes.limits import BULK_MAX_NOTES, CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS
from notes.paging import MAX_LIMIT

ID_PATTERN: Final = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
is_note_id: Final = re.compile(ID_PATTERN).fullmatch


class NoteCreate(StrictSerializer):
    """A new note; its user is the caller."""

    title = TextField(max_length=TITLE_MAX_CHARACTERS)
    content = TextField(
        max_length=CONTENT_MAX_CHARACTERS,
        allow_blank=True,
        trim_whitespace=False,
        required=False,
        default="",
    )


class NoteReplace(StrictSerializer):
    """The whole note."""

    title = TextField(max_length=TITLE_MAX_CHARACTERS)
    content = TextField(max_length=CONTENT_MAX_CHARACTERS, allow_blank=True, trim_whitespace=False)


class NoteChange(StrictSerializer):
    """The title, the content or both."""

    min_fields = 1

    title = TextField(max_length=TITLE_MAX_CHARACTERS, required=False)
    content = TextField(
        max_length=CONTENT_MAX_CHARACTERS, allow_blank=True, trim_whitespace=False, required=False
    )


class NotesCreate(StrictSerializer):
    """New notes; their user is the caller."""

    notes = BoundedListField(child=NoteCreate(), min_length=1, max_length=BULK_MAX_NOTES)


class _NoteIdField(serializers.UUIDField):
    """The id of a note in its only form; UUIDField takes others, and integers."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or not is_note_id(data):
            self.fail("invalid", value=data)
        return UUID(data)


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "format": "uuid"},
        "minItems": 1,
        "maxItems": BULK_MAX_NOTES,
        "uniqueItems": True,
    }
)
class _NoteIdsField(BoundedListField):
    """Ids of notes, each once."""

    def to_internal_value(self, data: Any) -> list[UUID]:
        ids: list[UUID] = super().to_internal_value(data)
        repeated = {
            position: [ErrorDetail("Given more than once.", "repeated")]
            for position, note_id in enumerate(ids)
            if note_id in ids[:position]
        }
        if repeated:
            raise ValidationError(repeated)  # type: ignore[arg-type]  # as ListField does
        return ids


class NotesDelete(StrictSerializer):
    """Notes to delete."""

    ids = _NoteIdsField(child=_NoteIdField(), min_length=1, max_length=BULK_MAX_NOTES)


class NoteOutput(serializers.Serializer):
    """A note."""

    id = serializers.UUIDField()
    user_id = serializers.RegexField(USER_ID_PATTERN)
    title = serializers.CharField(min_length=1, max_length=TITLE_MAX_CHARACTERS)
    content = serializers.CharField(max_length=CONTENT_MAX_CHARACTERS)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField(min_value=1)


class NotePage(serializers.Serializer):
    """
    A page of notes.

    By page: count (left out with count=false) and page; by cursor neither.
    """

    results = NoteOutput(many=True)
    count = serializers.IntegerField(min_value=0, required=False)
    page = serializers.IntegerField(min_value=1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class NoteCreated(serializers.Serializer):
    """A note that was created, with the ETag that names this state of it."""

    status = serializers.ChoiceField([int(HTTPStatus.CREATED)])
    etag = serializers.CharField()
    note = NoteOutput()


class NotesCreated(serializers.Serializer):
    """A result for each note, in the order of the request."""

    results = NoteCreated(many=True)


class NoteDeleted(serializers.Serializer):
    """What has become of a note: 204 deleted, 403 of another user, 404 unknown."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(
        [int(HTTPStatus.NO_CONTENT), int(HTTPStatus.FORBIDDEN), int(HTTPStatus.NOT_FOUND)]
    )


class NotesDeleted(serializers.Serializer):
    """A result for each id, in the order of the request."""

    results = NoteDeleted(many=True)
