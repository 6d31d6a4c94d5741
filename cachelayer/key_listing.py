"""The keys of a namespace that are in Redis, by the beginning of their names, with age and size."""

import re
import time
from typing import Any, Final, NamedTuple

from cachelayer import entries
from cachelayer.client import execute
from cachelayer.namespace import Key, Namespace, root_of_names

KEYS_MAX: Final = 100  # in one listing
SCANNED_MAX: Final = 100_000  # keys of Redis that one listing looks at, of whatever namespace
SCAN_SECONDS: Final = 1.0
CURSOR_MAX: Final = 2**64 - 1
_SCAN_COUNT: Final = 1_000
# Enough for a header with the query of a list; a longer one reads as corrupt.
_HEADER_BYTES: Final = 4 * entries.HEAD_BYTES


class Row(NamedTuple):
    """
    One entry: its logical name, the bytes of the stored value, and what its header says.

    reason is None where it is fresh, else why it is not served; the seconds are None where the
    header cannot be read. fresh_seconds is negative past the TTL.
    """

    name: str
    size_bytes: int
    reason: str | None
    age_seconds: float | None
    fresh_seconds: float | None


class Listing(NamedTuple):
    """
    The rows by name, and what is left out.

    more: further keys begin so. cursor: where to continue a search that ended at SCANNED_MAX keys
    or SCAN_SECONDS, 0 where every key was looked at.
    """

    rows: list[Row]
    more: bool
    cursor: int


def list_keys(namespace: Namespace[Any], beginning: str, *, cursor: int = 0) -> Listing:
    """
    Return the keys whose member begins so, at most KEYS_MAX; no character is a wildcard.

    beginning may include the namespace's prefix. SCAN looks at all of Redis, so the search is
    bounded, and resumes at a cursor of an earlier one. Raises CacheDown.
    """
    member = beginning.removeprefix(namespace.prefix)
    root = root_of_names().encode()
    pattern = _escaped(root + f"{namespace.prefix}{member}".encode()) + b"*"
    names: set[str] = set()
    scanned, deadline = 0, time.monotonic() + SCAN_SECONDS
    while True:
        cursor, page = _scan(cursor, pattern)
        scanned += _SCAN_COUNT
        logical = (name[len(root) :].decode(errors="replace") for name in page)
        names.update(name for name in logical if namespace.has(name))
        is_over = scanned >= SCANNED_MAX or time.monotonic() > deadline
        if cursor == 0 or is_over or len(names) > KEYS_MAX:
            break
    more = len(names) > KEYS_MAX
    keys = [namespace.key(name.removeprefix(namespace.prefix)) for name in sorted(names)[:KEYS_MAX]]
    return Listing(_rows(keys), more, 0 if more else cursor)


def _scan(cursor: int, pattern: bytes) -> tuple[int, list[bytes]]:
    reply: Any = execute("scan", lambda r: r.scan(cursor, match=pattern, count=_SCAN_COUNT))
    return int(reply[0]), reply[1]


def _rows(keys: list[Key[Any]]) -> list[Row]:
    """Return the rows of those that are still there: two round trips at most."""
    if not keys:
        return []

    def pipeline(r: Any) -> Any:
        pipe = r.pipeline(transaction=False)
        for key in keys:
            pipe.strlen(key.entry_name)
            pipe.getrange(key.entry_name, 0, _HEADER_BYTES - 1)
            pipe.mget(key.stamp_names)
        return pipe.execute()

    replies = iter(execute("list", pipeline))
    rows = []
    for key in keys:
        size_bytes, header, stamps = next(replies), next(replies), next(replies)
        if size_bytes:
            rows.append(_row(key, size_bytes, header, stamps))
    return rows


def _row(key: Key[Any], size_bytes: int, header: bytes, stamps: list[Any]) -> Row:
    lookup = entries.judge_header(key, header, stamps)
    if not lookup.age_ms + lookup.remaining_ms:  # its lifetime, which no entry lacks
        return Row(key.name, size_bytes, lookup.reason, None, None)
    return Row(
        key.name, size_bytes, lookup.reason, lookup.age_ms / 1000, lookup.remaining_ms / 1000
    )


def _escaped(text: bytes) -> bytes:
    """Escape what is special in a pattern of Redis."""
    return re.sub(rb"([\\*?\[\]^-])", rb"\\\1", text)
