"""Compare a sample of the cached entries with the stores."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from cachelayer import protocol
from cachelayer.client import execute
from cachelayer.entries import Lookup
from cachelayer.namespace import Key, NoSuchKey, key_named, loader_of, root_of_names

_DRAWN_AT_ONCE: Final = 50
_BARREN_DRAWS_MAX: Final = 20  # in a row without a new entry: then all have been sampled
_PAUSE_SECONDS: Final = 0.005  # after each check, so that a site under load is not slowed down
_SECOND_LOOK_SECONDS: Final = 2.0  # by then a write's invalidation has arrived, or is lost


@dataclass
class Audit:
    """How many sampled entries were fresh, and which were stale at the second check too."""

    checked: int = 0
    fresh: int = 0
    in_flight: int = 0  # differed once, because a write was under way
    stale: list[str] = field(default_factory=list)


def audit(number: int) -> Iterator[Audit]:
    """
    Compare up to number servable entries with their stores; yield the tally after each.

    An entry that differs is checked again after 2 s, and is stale only if it still differs. Raises CacheDown, or what a load raises.
    """
    tally = Audit()
    pause = threading.Event()
    for key in _sample(number):
        lookup = protocol.look_many([key])[0]
        if not lookup.fresh:
            continue
        tally.checked += 1
        if _agrees(key, lookup):
            tally.fresh += 1
        elif _agrees_later(key, pause):
            tally.in_flight += 1
        else:
            tally.stale.append(key.name)
        yield tally
        pause.wait(_PAUSE_SECONDS)


def _agrees_later(key: Key[Any], pause: threading.Event) -> bool:
    pause.wait(_SECOND_LOOK_SECONDS)
    lookup = protocol.look_many([key])[0]
    return not lookup.fresh or _agrees(key, lookup)


def _agrees(key: Key[Any], lookup: Lookup[Any]) -> bool:
    loader = loader_of(key.namespace)
    if loader is None:
        raise NoSuchKey(f"no loader is registered for {key.namespace.name}")
    (value,) = loader([(key, lookup.origin)])
    return bool(value == lookup.value)


def _sample(number: int) -> Iterator[Key[Any]]:
    """Yield at most number distinct keys at random."""
    root = root_of_names().encode()
    seen: set[str] = set()
    barren = 0
    while len(seen) < number and barren < _BARREN_DRAWS_MAX:
        barren += 1
        for name in execute("sample", _draw):
            logical = name[len(root) :].decode(errors="replace") if name else ""
            if not name or not name.startswith(root) or logical in seen:
                continue
            key = _key_or_none(logical)
            if key is not None and len(seen) < number:
                seen.add(logical)
                barren = 0
                yield key


def _draw(r: Any) -> Any:
    pipe = r.pipeline(transaction=False)
    for _ in range(_DRAWN_AT_ONCE):
        pipe.randomkey()
    return pipe.execute()


def _key_or_none(logical: str) -> Key[Any] | None:
    try:
        key = key_named(logical)
    except NoSuchKey:
        return None  # a stamp, a lease, a count
    return key if loader_of(key.namespace) else None
