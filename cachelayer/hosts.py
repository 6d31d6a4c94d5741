"""
The register in Redis of the hosts that keep copies, and what each write awaits of them.

A host's copies are killed through its file of slots, which another host cannot reach. So one script
deletes the stamps, sends the other hosts' listeners the tags in a message, and returns the register.
Each listener overwrites its slots, and then acknowledges; its sender waits for that, or until that
host has ended its session, or vouches no more: at most LEASE_SECONDS. The sender's own host needs no
message: the sender overwrites the slots itself.

The register is one hash: the field id, which is random, and for each host its state, on or off, the
session of its listener, and the number of its last renewal. So whoever sees the same id again knows
that nothing was lost meanwhile, and whatever was on within LEASE_SECONDS is in there; and who sees
the same renewal for LEASE_SECONDS, that its host vouches no more.
"""

import functools
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis

from cachelayer import client, metrics, slots
from cachelayer.client import CacheDown
from cachelayer.host_register import (
    ID,
    LEASE_SECONDS,
    LIFETIME_SECONDS,
    acknowledgements_name,
    id_of,
    new_id,
    session_of,
)
from cachelayer.namespace import register_name, unlinked_name
from cachelayer.slots import HOST, REGISTER, REGISTER_SINCE, clock

_PAUSE_SECONDS: Final = 0.01
_BLOCKED_SECONDS: Final = 0.025  # by one round trip: well below the timeout of Redis's replies
_NANOSECONDS: Final = 1_000_000_000

# One script, so that each host in the register that is returned is sent the message; without tags there
# is nothing to send, as when the lease is renewed and no row waits. The UNLINK works in a full Redis too. More arguments at once than a thousand might be too many for Lua.
# KEYS: register, names to delete... ARGV: this host, the message.
_SCRIPT: Final = """
for i = 2, #KEYS, 1000 do redis.call('UNLINK', unpack(KEYS, i, math.min(i + 999, #KEYS))) end
local register = redis.pcall('HGETALL', KEYS[1])
if register.err then return {} end
if #KEYS > 1 and #register / 2 > 1 + redis.call('HEXISTS', KEYS[1], ARGV[1]) then
  redis.call('PUBLISH', KEYS[1], ARGV[2])
end
return register
"""

# This process's host where no file of slots is mapped.
_unmapped = new_id()
# The register that this process saw last, and when it saw it first.
_seen: tuple[bytes | None, int] = (None, 0)
# The state of each host in it, and when this process saw that first.
_states: dict[bytes, tuple[bytes, int]] = {}


def host() -> bytes:
    """Return the name of this host in the register."""
    table = slots.words
    return _unmapped if table is None else id_of(table[HOST])


class Invalidation:
    """One deletion of what makes tags valid, and the hosts that have yet to acknowledge it."""

    def __init__(self, tags: Sequence[str]) -> None:
        self._token = new_id()
        mine = host()
        self._names = [register_name(), *map(unlinked_name, tags)]
        self._arguments = [mine, json.dumps([self._token.decode(), mine.decode(), list(tags)])]
        self._awaited: dict[bytes, bytes] = {}  # sessions by host
        self._was_whole = False  # the register, with the UNLINK
        self._whole_at = 0  # when the register as last read will be whole; 0: there was none

    def run(self, r: redis.Redis) -> Any:
        """Run the script; return its reply, or the error that it is."""
        try:
            return _script(r)(self._names, self._arguments)
        except redis.ResponseError as exc:
            return exc

    def add_to(self, pipe: Any) -> None:
        """Add the script to a pipeline."""
        pipe.eval(_SCRIPT, len(self._names), *self._names, *self._arguments)

    def judge(self, reply: Sequence[bytes], overwritten: int | None) -> None:
        """Take in the reply of the script. overwritten: what slots.overwrite has returned since."""
        register = dict(zip(reply[::2], reply[1::2], strict=True))
        self._was_whole = self._reads_as_whole(register)
        mine = None if overwritten is None else id_of(overwritten)
        self._awaited = {
            name: session_of(state) for name, state in _vouching(register).items() if name != mine
        }

    def await_hosts(self, seconds: float = LEASE_SECONDS) -> bool:
        """
        Wait, at most so long, until no other host may serve a copy from before; return whether so.

        After LEASE_SECONDS none may, though not one has acknowledged.
        """
        if self._was_whole and not self._awaited:
            return True
        end = clock() + int(seconds * _NANOSECONDS)
        with metrics.ACKNOWLEDGEMENT_SECONDS.time():
            while (rest := (end - clock()) / _NANOSECONDS) > 0:
                if self._look(rest):
                    return True
        return False

    def _look(self, rest_seconds: float) -> bool:
        """Wait a moment for acknowledgements, then look at the register; return whether all is settled."""
        if not self._awaited:
            # What else to wait for is the time, to be confirmed by another look: was it lost meanwhile?
            pause_seconds = max(_PAUSE_SECONDS, (self._whole_at - clock()) / _NANOSECONDS)
            threading.Event().wait(min(rest_seconds, pause_seconds))
        try:
            acknowledged, register = self._poll(rest_seconds)
        except CacheDown:
            threading.Event().wait(min(rest_seconds, _PAUSE_SECONDS))
            return False
        is_whole = self._reads_as_whole(register)
        vouching = _vouching(register)
        self._awaited = {
            name: session
            for name, session in self._awaited.items()
            if name not in acknowledged
            and not (is_whole and session_of(vouching.get(name, b"")) != session)
        }
        return (is_whole or self._was_whole) and not self._awaited

    def _reads_as_whole(self, register: dict[bytes, bytes]) -> bool:
        identity = register.get(ID)
        self._whole_at = 0 if identity is None else _whole_at(identity)
        return _is_whole(identity)

    def _poll(self, rest_seconds: float) -> tuple[set[bytes], dict[bytes, bytes]]:
        """Return who has acknowledged, and the register after that, made where there is none: one pipeline."""
        hosts = len(self._awaited)
        blocked_seconds = max(0.001, min(rest_seconds, _BLOCKED_SECONDS) / max(hosts, 1))
        register = register_name()
        acknowledgements = acknowledgements_name(register, self._token.decode())

        def pipeline(r: redis.Redis) -> list[Any]:
            pipe = r.pipeline(transaction=False)
            for _ in range(hosts):
                pipe.blpop([acknowledgements], timeout=blocked_seconds)
            if not self._was_whole:
                pipe.hsetnx(register, ID, new_id())
                pipe.expire(register, LIFETIME_SECONDS)
            pipe.hgetall(register)
            return pipe.execute()

        replies = client.execute("acknowledgements", pipeline, past_breaker=True)
        return {reply[1] for reply in replies[:hosts] if reply is not None}, replies[-1]


@functools.cache
def _script(connection: redis.Redis) -> Callable[..., Any]:
    return connection.register_script(_SCRIPT)


def _is_whole(identity: bytes | None) -> bool:
    """Return whether the register was there for LEASE_SECONDS: then no host is on that is not in it."""
    return identity is not None and clock() >= _whole_at(identity)


def _whole_at(identity: bytes) -> int:
    """Return when, by the clock, the register will have been there for LEASE_SECONDS; it was just seen."""
    global _seen
    now, table = clock(), slots.words
    if _seen[0] != identity:
        _seen = (identity, now)
    since = _seen[1]
    if table is not None and id_of(table[REGISTER]) == identity:
        since = min(since, table[REGISTER_SINCE])
    return since + int(LEASE_SECONDS * _NANOSECONDS)


def _vouching(register: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the states of the hosts that may vouch: that are on, and renewed within LEASE_SECONDS."""
    global _states
    now, before = clock(), _states
    _states = {
        name: before[name] if name in before and before[name][0] == state else (state, now)
        for name, state in register.items()
        if name != ID
    }
    vouching = {
        name: state
        for name, (state, since) in _states.items()
        if state.startswith(b"on") and now < since + int(LEASE_SECONDS * _NANOSECONDS)
    }
    metrics.HOSTS_ON.set(len(vouching))
    return vouching
