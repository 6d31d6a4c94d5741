"""
The process that hears from Redis what was invalidated, one for each host that keeps copies.

It is started and watched by cachelayer.upkeep, which writes one line of JSON to its standard input, the
Configuration. It ends with its parent: at the end of that input. So that no busy interpreter delays it, and
so that it starts at once, it is without Django.

While it listens it vouches for the level, by the word LISTENING, to the end of a lease that began
before it sent its last renewal: at the reply to that, all pushes are in that came before it.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from cachelayer import server_identity, slots
from cachelayer.host_register import (
    ID,
    LIFETIME_SECONDS,
    VOUCHED_SECONDS,
    acknowledgements_name,
    id_of,
    is_acknowledging,
    new_id,
    state_of,
)
from cachelayer.slots import EPOCH, HOST, LISTENING, REASON, REGISTER, REGISTER_SINCE, SERVER

RENEWAL_SECONDS: Final = 0.3
DEAD_SECONDS: Final = 3.0  # a host that has not renewed for so long is struck out

_TIMEOUT_SECONDS: Final = 0.25
_ACKNOWLEDGED_MS: Final = 3_000  # longer than any write waits
_PAUSE_SECONDS: Final = 0.2
_NANOSECONDS: Final = 1_000_000_000

# KEYS: register. ARGV: this host, its state, an id for a new register, its lifetime in seconds, and of
# each dead host its name and its last state. Returns this host's last state, and the register.
_RENEW: Final = """
redis.call('HSETNX', KEYS[1], 'id', ARGV[3])
for i = 5, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
local last = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {last, redis.call('HGETALL', KEYS[1])}
"""
_REASONS: Final = {reason: number for number, reason in enumerate(slots.REASONS)}


class Configuration(NamedTuple):
    """What the parent says."""

    url: str
    file: str  # of slots
    stamps: str  # how the names of stamps begin
    register: str  # the name of the register of hosts, and of the channel of their messages
    # Where there are Sentinels, these name the server: the rest is what django-redis has for that.
    sentinels: Sequence[tuple[str, int]] = ()
    to_sentinel: Mapping[str, Any] = {}  # parameters of a connection to one of them
    service: str = ""
    username: str | None = None  # of the server
    password: str | None = None


class Listener:
    """Listens on one connection at a time: a session, in which it misses no message."""

    def __init__(self, table: "memoryview[int]", configuration: Configuration) -> None:
        self._table = table
        self._configuration = configuration
        self._stamps = configuration.stamps.encode()
        self._host = id_of(table[HOST])
        self._others: dict[bytes, tuple[bytes, int]] = {}  # state, and since when it is the same
        self._session = b""
        self._state = b""  # in the register, by this session's last renewal
        self._is_on = False
        self._messages: list[str] = []  # to be acknowledged
        self._due = 0  # when to renew, in slots.clock()'s time
        self._turn_off("no listener runs")

    def listen(self) -> None:
        """Listen until the connection fails. Raises redis.RedisError, OSError."""
        connection = self._connected()
        try:
            # What happened before the session began is not known.
            slots.overwrite_word(self._table, EPOCH)
            self._session, self._state, self._is_on = new_id(), b"", False
            self._messages.clear()
            while True:
                was_on = self._is_on
                self._due = slots.clock() + int(RENEWAL_SECONDS * _NANOSECONDS)
                self._renew(connection)
                if self._is_on != was_on:
                    continue  # the register is to say so at once
                self._acknowledge(connection)
                while (rest := self._due - slots.clock()) > 0:
                    self._hear(connection, rest / _NANOSECONDS)
                    self._acknowledge(connection)
        finally:
            self._turn_off("Redis does not answer the listener")
            slots.overwrite_word(self._table, EPOCH)
            connection.disconnect()

    def _connected(self) -> Any:
        connection: Any = _pool(self._configuration).get_connection()
        connection._parser.set_invalidation_push_handler(self._on_push)
        connection._parser.set_pubsub_push_handler(self._on_message)
        tracking = ("CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP")
        connection.send_command(*tracking, "PREFIX", self._configuration.stamps)
        connection.read_response()
        connection.send_command("SUBSCRIBE", self._configuration.register)  # whose reply is a push
        return connection

    def _hear(self, connection: Any, seconds: float) -> None:
        """Take in what is pushed, for at most so long."""
        with contextlib.suppress(redis.TimeoutError):
            connection.read_response(push_request=True, timeout=seconds, disconnect_on_error=False)

    def _on_push(self, message: Any) -> None:
        """Kill the copies that depend on a stamp that was changed, by whomever."""
        names = message[1]
        if names is None:  # all is gone, and with it what was in the register
            self._due = 0
            return
        for name in names:
            tag = name[len(self._stamps) :].decode(errors="replace")
            slots.overwrite_word(self._table, slots.slot_of(tag))

    def _on_message(self, message: Any) -> None:
        """Kill the copies that another host's write has made invalid; acknowledge that later."""
        kind, _, payload = message
        if kind != b"message":
            return
        identity, host, tags = json.loads(payload)
        if host.encode() == self._host:
            return  # its writer has done so itself
        for tag in tags:
            slots.overwrite_word(self._table, slots.slot_of(tag))
        self._messages.append(identity)

    def _acknowledge(self, connection: Any) -> None:
        """Acknowledge the messages whose slots are overwritten."""
        while self._messages:
            messages, self._messages = self._messages, []
            commands: list[tuple[Any, ...]] = []
            for message in messages:
                name = acknowledgements_name(self._configuration.register, message)
                commands += ("RPUSH", name, self._host), ("PEXPIRE", name, _ACKNOWLEDGED_MS)
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                connection.read_response()

    def _renew(self, connection: Any) -> None:
        """Renew this host's entry in the register, and vouch or not, as that then says."""
        sent = slots.clock()
        dead = [
            part
            for name, (state, since) in self._others.items()
            if sent - since > DEAD_SECONDS * _NANOSECONDS
            for part in (name, state)
        ]
        state = state_of(self._session, is_on=self._is_on)
        arguments = (self._host, state, new_id(), LIFETIME_SECONDS, *dead)
        connection.send_packed_command(
            connection.pack_commands(
                [
                    ("EVAL", _RENEW, 1, self._configuration.register, *arguments),
                    *server_identity.COMMANDS,
                ]
            )
        )
        last, register = connection.read_response()
        replies = [connection.read_response() for _ in server_identity.COMMANDS]
        server = slots.number_of(server_identity.identity_of(replies))
        if self._state and last != self._state:
            # Messages may have been sent to others alone: a new session begins.
            raise redis.ConnectionError("the register has lost this host")
        self._state = state
        if server != self._table[SERVER]:
            self._table[SERVER] = server
            slots.overwrite_word(self._table, EPOCH)
        self._judge(register, sent)

    def _judge(self, register: list[bytes], sent: int) -> None:
        states = dict(zip(register[::2], register[1::2], strict=True))
        identity = int(states.pop(ID), 16)
        if identity != self._table[REGISTER]:
            self._table[REGISTER_SINCE] = slots.clock()
            self._table[REGISTER] = identity
        del states[self._host]
        self._others = {
            name: self._others[name]
            if name in self._others and self._others[name][0] == state
            else (state, slots.clock())
            for name, state in states.items()
        }
        was_on, self._is_on = self._is_on, all(map(is_acknowledging, states.values()))
        if not self._is_on:  # that one's writes are sent to nobody, and wait while this one is on
            self._turn_off("a host of an earlier version is there")
        elif was_on:
            self._table[LISTENING] = sent + int(VOUCHED_SECONDS * _NANOSECONDS)

    def _turn_off(self, reason: str) -> None:
        self._table[REASON] = _REASONS[reason]
        self._table[LISTENING] = 0


def _pool(configuration: Configuration) -> redis.ConnectionPool:
    timeouts: dict[str, Any] = {
        "socket_timeout": _TIMEOUT_SECONDS,
        "socket_connect_timeout": _TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    options = timeouts | {"protocol": 3, "socket_keepalive": True}
    if not configuration.sentinels:
        return redis.ConnectionPool.from_url(configuration.url, **options)
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        configuration.sentinels, sentinel_kwargs={**configuration.to_sentinel, **timeouts}
    )
    is_tls = configuration.url.startswith("rediss:")
    return SentinelConnectionPool.from_url(
        configuration.url,
        service_name=configuration.service,
        sentinel_manager=sentinel,
        connection_class=SentinelManagedSSLConnection if is_tls else SentinelManagedConnection,
        username=configuration.username,
        password=configuration.password,
        **options,
    )


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Listen until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if sys.platform == "linux":  # the parent may be kept on one CPU, and busy
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    configuration = Configuration(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    table, _ = slots.opened(Path(configuration.file))
    listener = Listener(table, configuration)
    while True:
        try:
            listener.listen()
        except (redis.RedisError, OSError):
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
