"""What JSON Schema cannot say of a body, for schemathesis (schemathesis.toml): it generates no such case."""

import json
from typing import Any

import schemathesis

from profiles.limits import PREFERENCE_KEYS_MAX, PREFERENCES_BYTES_MAX


def count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


def has_long_integer(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(has_long_integer, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out valid preferences of too many keys (nested ones included) or bytes, or long integers."""
    if "/profiles" not in case.operation.path or not isinstance(case.body, dict):
        return True
    if case.meta is None or case.meta.generation.mode.is_negative:
        return True
    # The names beside preferences are counted, too, and JSON is not BSON: it is strict enough.
    size = len(json.dumps(case.body))
    return (
        count_keys(case.body) <= PREFERENCE_KEYS_MAX
        and size <= PREFERENCES_BYTES_MAX
        and not has_long_integer(case.body)
    )
