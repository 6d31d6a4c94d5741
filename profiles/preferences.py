"""Preferences: validation, defaults, and JSON Merge Patch (RFC 7396)."""

import math
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import bson
import msgspec

from profiles.languages import is_language_tag
from profiles.limits import (
    LANGUAGE_MAX_CHARACTERS,
    PREFERENCE_KEYS_MAX,
    PREFERENCE_LEVELS_MAX,
    PREFERENCE_REMOVALS_MAX,
    PREFERENCES_BYTES_MAX,
    THEMES,
)

Preferences = dict[str, Any]

_INT64: Final = 2**63
_WHOLE_FROM: Final = 1e16  # from here on Python writes floats with an exponent
_DEFAULTS: Final = {
    "theme": "system",
    "language": "en",
    "notifications": {"email": True, "push": False},
}


class PreferencesRejected(Exception):
    """Preferences that are not allowed; mistakes holds a message for each path, "" for the whole."""

    def __init__(self, mistakes: dict[str, str]) -> None:
        super().__init__("; ".join(f"{path or 'preferences'}: {m}" for path, m in mistakes.items()))
        self.mistakes = mistakes


def check(preferences: Preferences) -> None:
    """Raise PreferencesRejected unless these may be stored as a user's preferences."""
    mistakes = _first_mistakes(preferences) | _known_keys(preferences, removable=False)
    _reject(mistakes)
    check_size(preferences)


def check_patch(patch: Preferences) -> None:
    """Raise PreferencesRejected unless this merge patch may be applied to any preferences."""
    mistakes = _first_mistakes(patch) | _known_keys(patch, removable=True)
    _reject(mistakes)
    check_size(merged({}, patch))  # what it removes takes no room
    removals = _count_removals(patch)
    if removals > PREFERENCE_REMOVALS_MAX:
        _reject({"": f"{removals} keys to remove; at most {PREFERENCE_REMOVALS_MAX} are allowed."})


def check_size(preferences: Preferences) -> None:
    """Raise PreferencesRejected where there are too many keys or too many bytes."""
    keys, size = _count_keys(preferences), len(bson.encode(canonical(preferences)))
    if keys > PREFERENCE_KEYS_MAX:
        _reject(
            {"": f"{keys} keys; at most {PREFERENCE_KEYS_MAX} are allowed, nested ones included."}
        )
    if size > PREFERENCES_BYTES_MAX:
        _reject({"": f"{size} bytes as stored; at most {PREFERENCES_BYTES_MAX} are allowed."})


def merged(target: Any, patch: Any) -> Any:
    """Return target with the patch applied (RFC 7396, section 2); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def completed(stored: Any) -> Preferences:
    """Return the stored preferences, completed with defaults."""
    chosen = stored if isinstance(stored, dict) else {}
    notifications = chosen.get("notifications")
    channels = notifications if isinstance(notifications, dict) else {}
    return {**_DEFAULTS, **chosen, "notifications": {**_DEFAULTS["notifications"], **channels}}  # type: ignore[dict-item]


def canonical(value: Any) -> Any:
    """
    Return a value of either store in the one form that both agree on: plain JSON, keys in order.

    jsonb orders keys by its own rule, and keeps numbers by their decimal digits: it gives a whole
    float from 1e16 on back as a whole number, and knows no negative zero.
    """
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else _float(value)
    if isinstance(value, float):
        return _float(value)
    return msgspec.to_builtins(value, enc_hook=str)  # of BSON alone, by an edit past the service


def _float(value: float) -> float | int | None:
    """Return the number, as a whole one where jsonb would have it so; None where JSON has none."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    if abs(number) >= _WHOLE_FROM:
        digits = int(Decimal(repr(number)))  # those that were written into jsonb
        return digits if -_INT64 <= digits < _INT64 else number
    return number or 0.0  # -0.0 is falsy, too


def _reject(mistakes: dict[str, str]) -> None:
    if mistakes:
        raise PreferencesRejected(mistakes)


def _known_keys(preferences: Preferences, *, removable: bool) -> dict[str, str]:
    """Return the mistakes in the keys that have a meaning; removable: null removes a key."""
    notifications = preferences.get("notifications", {})
    channels = notifications if isinstance(notifications, dict) else {}
    rules = (
        ("theme", preferences, _is_theme, f"Must be one of {', '.join(THEMES)}."),
        ("language", preferences, _is_language, "Must be a language tag (BCP 47), such as pt-BR."),
        ("notifications", preferences, _is_object, "Must be an object."),
        ("notifications.email", channels, _is_boolean, "Must be true or false."),
        ("notifications.push", channels, _is_boolean, "Must be true or false."),
    )
    mistakes = {}
    for path, place, allows, message in rules:
        key = path.rpartition(".")[2]
        if key in place and not allows(place[key]) and not (removable and place[key] is None):
            mistakes[path] = message
    return mistakes


def _is_theme(value: Any) -> bool:
    return isinstance(value, str) and value in THEMES


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_language(value: Any) -> bool:
    return (
        isinstance(value, str) and len(value) <= LANGUAGE_MAX_CHARACTERS and is_language_tag(value)
    )


def _count_removals(patch: Preferences) -> int:
    inner = [value for value in patch.values() if isinstance(value, dict)]
    return sum(value is None for value in patch.values()) + sum(map(_count_removals, inner))


def _first_mistakes(preferences: Preferences) -> dict[str, str]:
    """Return a message for each of the first paths that may not be stored: a body has room for many more."""
    return dict(islice(_mistakes(preferences, "", PREFERENCE_LEVELS_MAX), PREFERENCE_KEYS_MAX))


def _mistakes(value: Any, path: str, levels: int) -> Iterator[tuple[str, str]]:
    """Yield (path, message) for keys and values that one of the stores could not store unchanged."""
    if not isinstance(value, dict | list):
        mistake = _mistake_in_value(value)
        if mistake:
            yield path, mistake
    elif levels == 0:
        yield path, f"Nested deeper than {PREFERENCE_LEVELS_MAX} levels."
    elif isinstance(value, list):
        for inner in value:
            yield from _mistakes(inner, path, levels - 1)
    else:
        for key, inner in value.items():
            below = f"{path}.{key}" if path else key
            mistake = _mistake_in_key(key)
            if mistake:
                yield below, mistake
            else:
                yield from _mistakes(inner, below, levels - 1)


def _mistake_in_value(value: Any) -> str:
    if isinstance(value, str) and "\0" in value:
        return "Null characters are not allowed."
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return "Whole numbers have at most 64 bits."
    return ""


def _mistake_in_key(key: str) -> str:
    if not key:
        return "A key must not be empty."
    if key.startswith("$") or "." in key or "\0" in key:
        return "A key must not start with $, nor hold a dot or a null character."
    return ""


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0
