"""
Reads and writes through the balancer, each held to every write that was acknowledged before it began.

Each key is a register with one writer, whose numbers only rise; so a read that begins after a write was
acknowledged must return its number or a higher one. It is Jepsen's method, for registers of one writer.
Behind a partition a write of unknown outcome may be made late, when its packet arrives; see writes_may_be_late.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from config.stack import process
from loadtests.generators.http_load import (
    Call,
    Sample,
    UnexpectedResponse,
    connected,
    fetch,
    json_call,
    send_now,
    send_once,
)

Kind = Literal["note", "profile"]
_WRITERS: Final[Sequence[Kind]] = ("note", "note", "note", "profile", "profile")
_READERS: Final = 4
_RECOVERY_SECONDS: Final = 30.0
_SAYS_STALE: Final = "detail=stale"


@dataclass
class Register:
    """One key: its path, and the number of its newest acknowledged write."""

    kind: Kind
    path: str
    user: str
    acknowledged: int = 0
    # Numbers of writes that may be made after newer ones.
    unknown: set[int] = field(default_factory=set)

    def allows(self, number: int, floor: int) -> bool:
        """Return whether a read may return the number that began when floor was acknowledged."""
        return number >= floor or number in self.unknown


@dataclass(frozen=True)
class Operation:
    """One request. Times in seconds from the start of the hammer."""

    kind: Kind
    is_write: bool
    began_s: float
    ended_s: float
    status: int  # 0: no answer
    retry_after: str = ""
    stale: bool = False
    url: str = ""  # of the balancer, or of the instance
    path: str = ""
    cache: str = ""  # Cache-Status, without the name of the cache

    @property
    def ok(self) -> bool:
        return self.status in (200, 201)

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 503 that says when to come back."""
        return self.status == 503 and bool(self.retry_after)

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return self.ended_s - self.began_s


@dataclass
class Hammer:
    """
    Writers and readers in threads, from start to stop.

    url: of the balancer. read_urls: where four readers each read besides, past the balancer.
    writes_may_be_late: a write that was not acknowledged may come after a newer one that was.
    pause_seconds: of each thread between two requests.
    """

    url: str
    name: str
    read_urls: Sequence[str] = ()
    writes_may_be_late: bool = False
    pause_seconds: float = 0.03
    operations: list[Operation] = field(default_factory=list)
    registers: list[Register] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _zero: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> "Hammer":
        self.registers += [
            create(self.url, kind, f"{self.name}-{number}") for number, kind in enumerate(_WRITERS)
        ]
        writers = [threading.Thread(target=self._write, args=(one,)) for one in self.registers]
        readers = [
            threading.Thread(target=self._read, args=(url, offset))
            for url in (self.url, *self.read_urls)
            for offset in range(_READERS)
        ]
        self._threads = [*writers, *readers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._zero

    def go_on(self, seconds: float) -> None:
        """Let it run for so long."""
        threading.Event().wait(seconds)

    def until_written(self, kind: Kind, timeout_seconds: float) -> float | None:
        """Wait until a write of this kind that begins now is acknowledged; return after how many seconds."""
        began = self.now_s
        while self.now_s < began + timeout_seconds:
            self._stopping.wait(0.02)
            recent = [one for one in self.operations[-200:] if one.is_write and one.kind == kind]
            done = [one.ended_s for one in recent if one.ok and one.began_s >= began]
            if done:
                return min(done) - began
        return None

    def lost(self, urls: Sequence[str]) -> int:
        """Read every register on every instance, past the cache too; return how many acknowledged writes are gone."""
        return sum(
            not register.allows(
                _number(register, _fetched(url, register.path + suffix)), register.acknowledged
            )
            for url, register, suffix in itertools.product(
                urls, self.registers, ("", "?cache=false")
            )
        )

    def _write(self, register: Register) -> None:
        with connected(self.url) as connection:
            for number in itertools.count(1):
                if self._stopping.wait(self.pause_seconds):
                    return
                began = self.now_s
                if self.writes_may_be_late:
                    register.unknown.add(number)
                sample = send_now(connection, _write_of(register, number))
                if sample.status == 200:
                    register.acknowledged = number
                    register.unknown.discard(number)
                self._add(register, sample, began, is_write=True)

    def _read(self, url: str, offset: int) -> None:
        with connected(url) as connection:
            for register in itertools.cycle(self.registers[offset:] + self.registers[:offset]):
                if self._stopping.wait(self.pause_seconds):
                    return
                began, floor = self.now_s, register.acknowledged
                sample = send_now(connection, Call("read", register.path))
                # What says of itself that it is stale, since the store is away (RFC 5861), claims nothing else.
                stale = (
                    sample.status == 200
                    and _SAYS_STALE not in sample.cache
                    and not register.allows(_number(register, json.loads(sample.body)), floor)
                )
                self._add(register, sample, began, is_write=False, stale=stale, url=url)

    def _add(
        self,
        register: Register,
        sample: Sample,
        began: float,
        *,
        is_write: bool,
        stale: bool = False,
        url: str = "",
    ) -> None:
        self.operations.append(
            Operation(
                register.kind,
                is_write,
                began,
                self.now_s,
                sample.status,
                sample.retry_after,
                stale,
                url or self.url,
                register.path,
                sample.cache,
            )
        )


def create(url: str, kind: Kind, user: str) -> Register:
    """
    Create a note or a profile of the user, once writes of its kind are served.

    It may be repeated: a profile that exists is a 409, and a note that a refused creation left
    behind is never read. Raises UnexpectedResponse.
    """
    if kind == "note":
        note = fetch(url, json_call(user, "/api/v1/notes", {"title": "cluster", "content": "0"}))
        return Register(kind, f"/api/v1/notes/{note['id']}", user)
    body = {"user_id": user, "email": f"{user}@example.org", "preferences": {"number": 0}}
    fetch(url, json_call(user, "/api/v1/profiles", body))
    return Register(kind, f"/api/v1/profiles/{user}", user)


def _write_of(register: Register, number: int) -> Call:
    if register.kind == "note":
        body: Any = {"title": "cluster", "content": str(number)}
        return json_call(register.user, register.path, body, "PUT")
    return json_call(register.user, f"{register.path}/preferences", {"number": number}, "PATCH")


def _fetched(url: str, path: str) -> Any:
    """
    Read once the store answers this instance again; a copy that is stale for want of it does not count.

    Raises UnexpectedResponse.
    """
    samples: list[Sample] = []

    def is_current() -> bool:
        samples.append(send_once(url, Call("", path)))
        return samples[-1].status == 200 and _SAYS_STALE not in samples[-1].cache

    if not process.wait_until(is_current, _RECOVERY_SECONDS):
        last = samples[-1]
        raise UnexpectedResponse(f"GET {path}: status {last.status} {last.cache}".rstrip())
    return json.loads(samples[-1].body)


def _number(register: Register, body: Any) -> int:
    return int(body["content"] if register.kind == "note" else body["preferences"]["number"])


def longest_gap_s(operations: Sequence[Operation], accept: Callable[[Operation], bool]) -> float:
    """Return the longest time in which no operation that is accepted was acknowledged."""
    ends = sorted(one.ended_s for one in operations if accept(one) and one.ok)
    return max((after - before for before, after in itertools.pairwise(ends)), default=float("inf"))
