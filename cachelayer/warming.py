"""Loading the most read keys before they are requested."""

from typing import Any, Final

from cachelayer import client, load, popularity, protocol
from cachelayer.client import execute
from cachelayer.namespace import Key, Namespace, loader_of, record_name

HOTTEST: Final = 100  # of each namespace
_BATCH: Final = 25
_MEMORY_SHARE_MAX: Final = 0.9  # of maxmemory; above it, warming would push out what is in use
_TURN_MS: Final = 60_000


def warm(namespace: Namespace[Any], *, number: int = HOTTEST) -> int:
    """
    Load, in bulk, those of the most read keys that are not cached; return how many were loaded.

    It stops where Redis is nearly full, and does not count as reading. A namespace without a
    loader, or whose keys do not say what to load, is left alone; so is a name that is no key
    (any more). Raises CacheDown, or what the load raises.
    """
    loader = loader_of(namespace)
    if loader is None or not namespace.warms:
        return 0
    names = [name for name, _ in popularity.hottest(namespace.name, number)]
    keys = [
        namespace.key(name.removeprefix(namespace.prefix)) for name in names if namespace.has(name)
    ]
    loaded = 0
    for first in range(0, len(keys), _BATCH):
        if _is_nearly_full():
            break
        batch = keys[first : first + _BATCH]
        lookups = zip(batch, protocol.look_many(batch), strict=True)
        missed: list[Key[Any]] = [key for key, lookup in lookups if not lookup.fresh]
        if missed:
            tickets = protocol.begin_many(missed)
            load.load_many(missed, tickets, lambda keys: loader([(key, "") for key in keys]))
            loaded += len(missed)
    return loaded


def take_turn() -> bool:
    """Return whether this process is the one to warm: one a minute is. Raises CacheDown."""
    name = record_name("turn", "warming")
    return bool(
        execute(
            "turn",
            lambda r: r.set(name, client.new_stamp(), nx=True, px=_TURN_MS),
        )
    )


def _is_nearly_full() -> bool:
    memory = execute("info", lambda r: r.info("memory"))
    return bool(0 < memory.get("maxmemory", 0) * _MEMORY_SHARE_MAX < memory["used_memory"])
