"""Preferences in the OpenAPI schema: the keys that have a meaning, and what further keys may hold."""

from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from config.web.serializers import NO_NUL_PATTERN
from profiles.languages import LANGUAGE_PATTERN
from profiles.limits import (
    LANGUAGE_MAX_CHARACTERS,
    PREFERENCE_KEY_PATTERN,
    PREFERENCE_KEYS_MAX,
    PREFERENCE_LEVELS_MAX,
    PREFERENCE_REMOVALS_MAX,
    THEMES,
)

_THEME: Final = {"type": "string", "enum": list(THEMES)}
_LANGUAGE: Final = {
    "type": "string",
    "description": "A language tag (BCP 47); no variant and no singleton twice.",
    "pattern": LANGUAGE_PATTERN,
    "maxLength": LANGUAGE_MAX_CHARACTERS,
}
_KEYS: Final = {"pattern": PREFERENCE_KEY_PATTERN}
_DESCRIPTION: Final = (
    "Further keys are stored unchanged. There are, nested ones included, at most "
    f"{PREFERENCE_KEYS_MAX} keys, {PREFERENCE_LEVELS_MAX} levels, and 16 KiB as BSON."
)


def _register(auto_schema: AutoSchema, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Make a component of the schema, once; return the reference to it."""
    component = ResolvedComponent(name, ResolvedComponent.SCHEMA, schema, object=name)
    auto_schema.registry.register_on_missing(component)
    return component.ref


def _value(auto_schema: AutoSchema, levels: int) -> dict[str, Any]:
    """Return the reference to what a key may hold with so many levels of objects and lists below it."""
    kinds: list[dict[str, Any]] = [
        {"type": "null"},
        {"type": "boolean"},
        # No bounds: to JSON Schema 1e20, which is allowed, is the same as its digits, which are not.
        {"type": "number", "description": "Whole, without an exponent: at most 64 bits."},
        {"type": "string", "pattern": NO_NUL_PATTERN},
    ]
    if levels:
        below = _value(auto_schema, levels - 1)
        # A component, from which generated clients take the name of the type.
        inner = {"type": "object", "propertyNames": _KEYS, "additionalProperties": below}
        kinds += [
            {"type": "array", "items": below},
            _register(auto_schema, f"PreferenceObject{levels}", inner),
        ]
    return _register(auto_schema, f"PreferenceValue{levels}", {"oneOf": kinds})


def _container(
    auto_schema: AutoSchema, properties: dict[str, Any], *, levels: int, is_complete: bool = False
) -> dict[str, Any]:
    """Return the schema of an object with so many levels below it; is_complete: no property is missing."""
    return {
        "type": "object",
        "properties": properties,
        "propertyNames": _KEYS,
        "additionalProperties": _value(auto_schema, levels),
        **({"required": sorted(properties)} if is_complete else {}),
    }


def _preferences(
    auto_schema: AutoSchema,
    channels: str,
    known: Any,
    *,
    keys_max: int = PREFERENCE_KEYS_MAX,
    **bounds: Any,
) -> dict[str, Any]:
    """Return the schema of preferences; known makes what a key with a meaning may hold."""
    channel = known({"type": "boolean"})
    inner = _container(
        auto_schema, {"email": channel, "push": channel}, levels=PREFERENCE_LEVELS_MAX - 2, **bounds
    )
    properties = {
        "theme": known(_register(auto_schema, "Theme", _THEME)),
        "language": known(_register(auto_schema, "Language", _LANGUAGE)),
        "notifications": known(_register(auto_schema, channels, inner)),
    }
    outer = _container(auto_schema, properties, levels=PREFERENCE_LEVELS_MAX - 1, **bounds)
    return {**outer, "maxProperties": keys_max, "description": _DESCRIPTION}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


class Preferences(OpenApiSerializerFieldExtension):
    """The preferences of a profile: as they may be written, and as they are read, completed."""

    target_class = "profiles.api.serializers.PreferencesField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        if direction == "request":
            name, channels, is_complete = "PreferencesRequest", "NotificationsRequest", False
        else:
            name, channels, is_complete = "Preferences", "Notifications", True
        schema = _preferences(auto_schema, channels, dict, is_complete=is_complete)
        return _register(auto_schema, name, schema)


class PreferencesPatch(OpenApiSerializerExtension):
    """A JSON Merge Patch of preferences: null takes a key away."""

    target_class = "profiles.api.serializers.PreferencesPatch"

    def get_name(self, auto_schema: AutoSchema, direction: Any) -> str:
        """Return what becomes PatchedPreferencesRequest."""
        return "Preferences"

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        keys_max = PREFERENCE_KEYS_MAX + PREFERENCE_REMOVALS_MAX
        return _preferences(auto_schema, "PatchedNotificationsRequest", _or_null, keys_max=keys_max)
