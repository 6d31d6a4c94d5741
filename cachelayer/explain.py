"""One key of the cache, explained: what is there, what it depends on, and why it last missed."""

from datetime import UTC, datetime
from typing import Any

from cachelayer import entries, first_level, protocol
from cachelayer.client import execute
from cachelayer.namespace import Key, key_named, record_name


def explain(name: str) -> dict[str, Any]:
    """
    Return what is known of a logical key such as books:{isbn}.

    Times are RFC 3339 in UTC, durations in seconds, sizes in bytes; null is not known, or not
    within the last hour. Raises NoSuchKey, or CacheDown.
    """
    key = key_named(name)
    lookup = protocol.look_many([key])[0]
    tags, missed = execute("explain", lambda r: _records(r, key))
    invalidated = [(at, tag) for tag, at in tags.items() if at is not None]
    last = max(invalidated, default=None)
    present = lookup.reason != "absent"
    return {
        "key": key.name,
        "namespace": key.namespace.name,
        "cached": lookup.fresh,
        "reason": lookup.reason,
        "says_absent": lookup.fresh and lookup.value is None,
        "age": lookup.age_ms / 1000 if present else None,
        "ttl": lookup.remaining_ms / 1000 if present else None,
        "size": lookup.size_bytes if present else None,
        "load_ms": lookup.load_ms if present else None,
        "tags": [
            {
                "tag": tag,
                "valid": present and tag not in lookup.stale_tags,
                "invalidated_at": _time(at),
            }
            for tag, at in tags.items()
        ],
        "last_invalidation": {"tag": last[1], "at": _time(last[0])} if last else None,
        "last_miss": missed,
        "first_level": {
            "off": first_level.reason_off(),
            "copied": first_level.copies.get(key.entry_name) is not None,  # in this process
        },
    }


def _records(r: Any, key: Key[Any]) -> tuple[dict[str, int | None], dict[str, Any] | None]:
    names = [record_name("invalidated", tag) for tag in key.tags]
    *tags, missed = r.mget([*names, record_name("missed", key.name)])
    invalidated = {
        tag: int(record.split()[0]) if record else None
        for tag, record in zip(key.tags, tags, strict=True)
    }
    if not missed:
        return invalidated, None
    at_ms, reason = missed.decode().split(" ", 1)
    return invalidated, {"reason": reason, "why": _WHY[reason], "at": _time(int(at_ms))}


_WHY: dict[entries.MissReason | str, str] = {
    "absent": "nothing was stored: never read, evicted, or kept past all its time",
    "expired": "its time was over",
    "invalidated": "a write had deleted the stamp of one of its tags, or the stamp was evicted",
    "epoch": "the namespace was cleared, its schema rose, or Redis came back with old data",
    "corrupt": "its bytes could not be read",
}


def _time(unix_ms: int | None) -> str | None:
    if unix_ms is None:
        return None
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
