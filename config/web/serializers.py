"""Request bodies read strictly: text is text, and unknown fields are errors."""

from typing import Any, Final

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

# What str.strip removes, spelled out: the \\s of ECMA 262, which JSON Schema uses, is another set.
_SPACE: Final = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NO_NUL_PATTERN: Final = r"^[^\u0000]*$"


def trimmed_pattern(max_characters: int) -> str:
    """Return the pattern of text that has 1 to max_characters once its ends are trimmed, and no NUL."""
    edge = rf"[^\u0000{_SPACE}]"
    inside = rf"[^\u0000]{{0,{max_characters - 2}}}"
    return rf"^[{_SPACE}]*{edge}({inside}{edge})?[{_SPACE}]*$"


class TextField(serializers.CharField):
    """A JSON string; a number or a boolean is an error, not text. NUL and lone surrogates too."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A body in which unknown fields are an error that names them."""

    min_fields = 0

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {name: [ErrorDetail("Unknown field.", "unknown")] for name in unknown}
            )
        if isinstance(data, dict) and len(data) < self.min_fields:
            message = f"Give at least {self.min_fields} of {', '.join(self.fields)}."
            raise serializers.ValidationError({"body": [ErrorDetail(message, "required")]})
        return super().to_internal_value(data)
