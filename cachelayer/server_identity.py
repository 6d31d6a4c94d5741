"""
Which Redis server gave a reply: one server, one run and one history of its data.

A server that was made a replica and a primary again has the same run_id, and not the data that it
had. Without Django: the listener reads it as well.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import redis

# Redis before 7 takes one section at a time; ROLE is none of the application's rights.
SECTIONS: Final = ("server", "replication")
COMMANDS: Final = tuple(("INFO", section) for section in SECTIONS)


def identity_of(replies: Iterable[bytes | str | Mapping[str, Any]]) -> str:
    """
    Return the identity of the server that gave these replies to COMMANDS, run_id:master_replid.

    Each is the text as received, or what redis-py has parsed. Raises redis.ConnectionError where
    the server is a replica.
    """
    info: dict[str, Any] = {}
    for reply in replies:
        info |= reply if isinstance(reply, Mapping) else _parsed(reply)
    if info.get("role") != "master":
        raise redis.ConnectionError(f"the server is no primary, but {info.get('role')}")
    return f"{info['run_id']}:{info['master_replid']}"


def _parsed(section: bytes | str) -> dict[str, str]:
    text = section.decode() if isinstance(section, bytes) else section
    lines = [line.partition(":") for line in text.splitlines()]
    return {name: value for name, _, value in lines}
