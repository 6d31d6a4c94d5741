"""The trace that a request belongs to, as its caller says in traceparent (W3C Trace Context)."""

import re
from collections.abc import Mapping
from typing import Any, Final

# https://www.w3.org/TR/trace-context-1/#traceparent-header-field-values: version, trace id, parent
# id and flags, in lower case. ff is no version, and ids of zeros are none. Version 00 ends here;
# what a later one appends is left aside.
_parsed: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
).fullmatch
_SAMPLED: Final = 1  # a flag


def trace_id_of(environ: Mapping[str, Any]) -> str | None:
    """Return the caller's trace id, 32 hexadecimal digits; None where there is no valid one."""
    header: str | None = environ.get("HTTP_TRACEPARENT")
    if header is None:
        return None
    match = _match(header)
    return None if match is None else match["trace_id"]


def is_recorded_by_caller(environ: Mapping[str, Any]) -> bool:
    """Return whether the caller may have recorded its part of the trace: the flag sampled."""
    header: str | None = environ.get("HTTP_TRACEPARENT")
    if header is None:
        return False
    match = _match(header)
    return match is not None and bool(int(match["flags"], 16) & _SAMPLED)


def _match(header: str) -> re.Match[str] | None:
    match = _parsed(header)
    if match is None or (match["version"] == "00" and match["rest"] is not None):
        return None
    return match


def log_fields(request_id: str, trace_id: str | None) -> dict[str, str]:
    """Return the fields by which each log line of a request names it."""
    fields = {"request_id": request_id}
    if trace_id is not None:
        fields["trace_id"] = trace_id
    return fields
