"""What a note may be written with, and its shape in the schema."""

from typing import Any

from rest_framework import serializers

from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS


class TextField(serializers.CharField):
    """A JSON string; a number or a boolean is an error, not text. NUL and lone surrogates too."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A body whose every field is known; others are an error that names them."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {name: [serializers.ErrorDetail("Unknown field.", "unknown")] for name in unknown}
            )
        return super().to_internal_value(data)


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

    title = TextField(max_length=TITLE_MAX_CHARACTERS, required=False)
    content = TextField(
        max_length=CONTENT_MAX_CHARACTERS, allow_blank=True, trim_whitespace=False, required=False
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give title, content or both.", code="required")
        return attrs


class NoteOutput(serializers.Serializer):
    """A note."""

    id = serializers.UUIDField()
    user_id = serializers.CharField()
    title = serializers.CharField()
    content = serializers.CharField()
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
    limit = serializers.IntegerField(min_value=1, max_value=100)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
