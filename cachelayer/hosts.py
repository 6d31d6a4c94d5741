"""
The register in Redis of the hosts that keep copies, which each write reads.

A host's copies are killed through its file of slots, which another host cannot reach: that host's
listener hears of the invalidation from Redis, a moment later. So the level is on only where its host
is alone in the register, and a write is not answered while another host is on, for at most
LEASE_SECONDS: by then that host's listener has heard of it, or has vouched for nothing since.

The register is one hash: the field id, which is random, and for each host its state, on or off, and
the number of its listener's last renewal. So whoever sees the same id again knows that nothing was
lost meanwhile, and whatever was on within LEASE_SECONDS is in there.
"""

import threading
from typing import Any, Final

import redis

from cachelayer import client, metrics, slots
from cachelayer.client import CacheDown
from cachelayer.host_register import ID, LEASE_SECONDS, LIFETIME_SECONDS, id_of, new_id
from cachelayer.namespace import register_name
from cachelayer.slots import HOST, REGISTER, REGISTER_SINCE, clock

_LOOK_SECONDS: Final = 0.01
_NANOSECONDS: Final = 1_000_000_000

# This process's host where no file of slots is mapped.
_unmapped = new_id()
# The register that this process saw last, and when it saw it first.
_seen: tuple[bytes | None, int] = (None, 0)


def host() -> bytes:
    """Return the name of this host in the register."""
    table = slots.words
    return _unmapped if table is None else id_of(table[HOST])


def await_others(register: Any) -> None:
    """
    Wait until no other host may serve a copy from before an UNLINK that was confirmed.

    register: the register as it was read after that UNLINK, an error where it could not be read.
    """
    if is_settled(register):
        return
    end = clock() + int(LEASE_SECONDS * _NANOSECONDS)
    pause = threading.Event()
    with metrics.HOSTS_WAIT_SECONDS.time():
        while (rest := end - clock()) > 0:
            register = _look()
            if is_settled(register):
                return
            pause.wait(min(_LOOK_SECONDS, rest / _NANOSECONDS))


def is_settled(register: Any) -> bool:
    """Return whether the register is known to be whole, and no other host's level is on."""
    if not isinstance(register, dict):
        return False
    mine = host()
    return _is_whole(register.get(ID)) and not any(
        state.startswith(b"on") for name, state in register.items() if name != mine
    )


def _is_whole(identity: bytes | None) -> bool:
    """Return whether the register was there for LEASE_SECONDS: then no host is on that is not in it."""
    global _seen
    if identity is None:
        return False
    now, table = clock(), slots.words
    if _seen[0] != identity:
        _seen = (identity, now)
    since = _seen[1]
    if table is not None and id_of(table[REGISTER]) == identity:
        since = min(since, table[REGISTER_SINCE])
    return now >= since + int(LEASE_SECONDS * _NANOSECONDS)


def _look() -> Any:
    """Make the register where there is none, enter this host as one that writes, and read it."""
    name = register_name()

    def pipeline(r: redis.Redis) -> Any:
        pipe = r.pipeline(transaction=False)
        pipe.hsetnx(name, ID, new_id())
        pipe.hsetnx(name, host(), b"off " + new_id())
        pipe.expire(name, LIFETIME_SECONDS)
        pipe.hgetall(name)
        return pipe.execute(raise_on_error=False)[-1]

    try:
        return client.ask("hosts", pipeline, past_breaker=True)
    except CacheDown:
        return None
