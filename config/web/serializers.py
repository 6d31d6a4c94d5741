"""Request bodies read strictly: text is text, and unknown fields are errors."""

import functools
from typing import Any, Final

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from config.web.parsers import body_of
from config.web.problems import ERRORS_MAX

# What str.strip removes, spelled out: the \\s of ECMA 262, which JSON Schema uses, is a different set.
_SPACE: Final = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NO_NUL_PATTERN: Final = r"^[^\u0000]*$"


def trimmed_pattern(max_characters: int) -> str:
    """Return the pattern of text that has 1 to max_characters once its ends are trimmed, and no NUL."""
    edge = rf"[^\u0000{_SPACE}]"
    inside = rf"[^\u0000]{{0,{max_characters - 2}}}"
    return rf"^[{_SPACE}]*{edge}({inside}{edge})?[{_SPACE}]*$"


class _ProhibitSurrogates(ProhibitSurrogateCharactersValidator):
    """As DRF's, which looks at each character in Python, but by a single encoding."""

    def __call__(self, value: Any) -> None:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            super().__call__(value)  # which names the character


class TextField(serializers.CharField):
    """A JSON string; a number or a boolean is an error, not text. NUL and lone surrogates too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators = [
            _ProhibitSurrogates()
            if isinstance(validator, ProhibitSurrogateCharactersValidator)
            else validator
            for validator in self.validators
        ]

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class BoundedListField(serializers.ListField):
    """A list whose length is checked first: a body has room for a million wrong elements."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list):
            self.run_validators(data)
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A body in which unknown fields are an error that names them."""

    min_fields = 0

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {
                    name: [ErrorDetail("Unknown field.", "unknown")]
                    for name in unknown[: ERRORS_MAX + 1]
                }
            )
        if isinstance(data, dict) and len(data) < self.min_fields:
            message = f"Give at least {self.min_fields} of {', '.join(self.fields)}."
            raise serializers.ValidationError({"body": [ErrorDetail(message, "required")]})
        return super().to_internal_value(data)


class NoFields(StrictSerializer):
    """A body that may hold nothing."""


def validated_body(request: Request, form: type[StrictSerializer]) -> dict[str, Any]:
    """
    Return the fields of a request's body. Raises ParseError or ValidationError.

    A serializer copies its fields for each body. One without context keeps no state while it
    validates, so all valid bodies share it; the errors are those of a serializer of their own.
    """
    body = body_of(request)
    try:
        fields: dict[str, Any] = _shared(form).run_validation(body)
    except ValidationError:
        own = form(data=body)
        own.is_valid(raise_exception=True)
        raise
    return fields


@functools.cache
def _shared(form: type[StrictSerializer]) -> StrictSerializer:
    return form()
