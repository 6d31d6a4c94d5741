"""What JSON Schema cannot say of a body, for schemathesis (schemathesis.toml): it generates no such case."""

import json
from typing import Any

import schemathesis

from profiles.limits import PREFERENCE_KEYS_MAX, PREFERENCES_BYTES_MAX


def count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out valid preferences of too many keys, nested ones included, or of too many bytes."""
    if "/profiles" not in case.operation.path or not isinstance(case.body, dict):
        return True
    if case.meta is None or case.meta.generation.mode.is_negative:
        return True
    # The names beside preferences are counted, too, and JSON is not BSON: it is strict enough.
    size = len(json.dumps(case.body))
    return count_keys(case.body) <= PREFERENCE_KEYS_MAX and size <= PREFERENCES_BYTES_MAX
