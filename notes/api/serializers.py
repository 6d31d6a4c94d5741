"""What a note may be written with, and its shape in the schema."""

from rest_framework import serializers

from config.web.serializers import StrictSerializer, TextField
from config.web.user_ids import USER_ID_PATTERN
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS
from notes.paging import MAX_LIMIT


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
