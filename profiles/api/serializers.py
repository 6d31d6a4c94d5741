"""What a profile may be written with, and its shape in the schema."""

import re
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.web.serializers import StrictSerializer, TextField
from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE
from profiles import preferences
from profiles.emails import EmailRejected, check_email
from profiles.limits import EMAIL_MAX_BYTES, NEW_USER_ID_PATTERN, RESERVED_USER_IDS
from profiles.preferences import PreferencesRejected


def rejection(exc: PreferencesRejected) -> serializers.ValidationError:
    """Return the 400 that names each path in the preferences with its mistake."""
    return serializers.ValidationError(
        {
            f"preferences.{path}" if path else "preferences": [
                serializers.ErrorDetail(message, "invalid")
            ]
            for path, message in exc.mistakes.items()
        }
    )


class PreferencesField(serializers.Field):
    """Preferences as profiles.preferences.check allows them."""

    default_error_messages = {"invalid": "Must be an object."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "string", "pattern": NEW_USER_ID_PATTERN})
class NewUserIdField(TextField):
    """A user id that a profile may be created with."""

    default_error_messages = {
        "invalid": f"Must be {USER_ID_RULE}",
        "reserved": "{user_id} is reserved.",
    }

    def to_internal_value(self, data: Any) -> str:
        user_id = super().to_internal_value(data)
        if user_id in RESERVED_USER_IDS:
            self.fail("reserved", user_id=user_id)
        if not re.fullmatch(NEW_USER_ID_PATTERN, user_id):
            self.fail("invalid")
        return user_id


def _validate_email(value: str) -> None:
    if len(value) > EMAIL_MAX_BYTES:
        return  # max_length, which the schema shows, says so
    try:
        check_email(value)
    except EmailRejected as exc:
        raise serializers.ValidationError(str(exc), code="invalid") from exc


@extend_schema_field({"type": "string", "format": "idn-email", "maxLength": EMAIL_MAX_BYTES})
class EmailField(TextField):
    """An e-mail address, as profiles.emails allows it."""


class _ProfileBody(StrictSerializer):
    email = EmailField(
        max_length=EMAIL_MAX_BYTES, trim_whitespace=False, validators=[_validate_email]
    )
    preferences = PreferencesField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            preferences.check(attrs.get("preferences", {}))
        except PreferencesRejected as exc:
            raise rejection(exc) from exc
        return attrs


class ProfileReplace(_ProfileBody):
    """The profile but for its user."""


class ProfileCreate(_ProfileBody):
    """A new profile."""

    user_id = NewUserIdField(trim_whitespace=False)
    preferences = PreferencesField(required=False, default=dict)


class PreferencesPatch(serializers.Serializer):
    """A merge patch of preferences: to the schema alone, since profiles.preferences checks it."""


class ProfileMetadata(serializers.Serializer):
    """When the profile came to be, changed, and was last used."""

    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    last_login = serializers.DateTimeField(allow_null=True)


class ProfileOutput(serializers.Serializer):
    """A profile."""

    user_id = serializers.RegexField(USER_ID_PATTERN)
    email = EmailField(max_length=EMAIL_MAX_BYTES)
    preferences = PreferencesField()
    metadata = ProfileMetadata()
    version = serializers.IntegerField(min_value=1)
