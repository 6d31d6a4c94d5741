"""Two hosts over a real Redis, each with a file of slots and a listener of its own."""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis

from cachelayer import client, first_level, hosts, protocol, slots, trust, upkeep
from cachelayer.first_level import Copies, guard_of
from cachelayer.host_register import id_of
from cachelayer.namespace import key_named, register_name
from config.stack.process import wait_until
from tests.cachelayer.test_listener import lease, whole  # noqa: F401  # lease: a fixture

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "notes:5f4dcc3b-5aa7-4d61-9d83-27deb882cf99"
TAG = "note:5f4dcc3b-5aa7-4d61-9d83-27deb882cf99"


@dataclass
class Host:
    """What a host has of its own."""

    words: "memoryview[int]"
    listener: "subprocess.Popen[bytes]"
    copies: Copies = field(default_factory=Copies)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be a process of this host."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slots, "words", self.words)
            patch.setattr(slots, "attach", lambda: None)
            yield

    def is_on(self) -> bool:
        with self.entered():
            return first_level.reason_off() is None

    def keep(self, payload: str) -> None:
        with self.entered():
            guard = guard_of(key_named(KEY))
            assert guard is not None
            self.copies.put("a", payload, 100, guard, 60)
            assert self.copies.get("a") == payload

    def serves(self) -> str | None:
        with self.entered():
            return self.copies.get("a")

    def write(self) -> None:
        """Invalidate the tag of the copies, up to when a write would be answered."""
        with self.entered():
            protocol.unlink([TAG])


def host_id(host: Host) -> bytes:
    """Return the name of a host in the register."""
    return id_of(host.words[slots.HOST])


@pytest.fixture
def two_hosts(tmp_path, redis_client):
    client.breaker.reset()  # whatever the test before has left
    both = []
    for name in "ab":
        file = tmp_path / name / "words.slots"
        words, _ = slots.opened(file)
        both.append(Host(words, upkeep._started(file)))
    try:
        assert wait_until(lambda: all(host.is_on() for host in both), 60)
        yield both
    finally:
        for host in both:
            host.listener.send_signal(signal.SIGCONT)
            host.listener.communicate(timeout=30)  # the end of its input ends it


@pytest.fixture
def operator(stack):
    with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as connection:
        yield connection


@pytest.fixture
def stopped(two_hosts):
    """The second host, whose listener is stopped after a copy was kept there."""
    _, b = two_hosts
    b.keep("old")
    b.listener.send_signal(signal.SIGSTOP)
    return b


def vouched(host: Host) -> Host:
    """Let a host whose listener is stopped be one that vouches still, however busy this machine is."""
    host.words[slots.LISTENING] = slots.clock() + 3600 * 10**9
    return host


@pytest.fixture
def operations(monkeypatch):
    """The names of the operations on Redis of this thread, one for each round trip."""
    names: list[str] = []
    mine = threading.get_ident()

    def observe(name: str, started: float, seconds: float) -> None:
        if threading.get_ident() == mine:
            names.append(name)

    monkeypatch.setattr(client, "observers", [observe])
    return names


@contextlib.contextmanager
def without_a_file():
    """Be a command without a file of slots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "words", None)
        patch.setattr(slots, "attach", lambda: None)
        yield


class TestAWriteOnOneHost:
    def test_once_answered_no_copy_from_before_is_served_on_another(self, two_hosts):
        a, b = two_hosts
        for number in range(30):
            writer, reader = (a, b) if number % 2 else (b, a)
            writer.keep(f"{number} here")
            reader.keep(f"{number} there")
            writer.write()

            assert (writer.serves(), reader.serves()) == (None, None)

    def test_of_a_command_without_a_file_either(self, two_hosts):
        for host in two_hosts:
            host.keep("old")
        with without_a_file():
            protocol.unlink([TAG])

        assert [host.serves() for host in two_hosts] == [None, None]

    def test_takes_one_round_trip_more_than_on_a_single_one(self, two_hosts, operations):
        a, b = two_hosts
        shortest = []
        for _ in range(2):
            writes = []
            for _ in range(20):
                operations.clear()
                a.write()
                writes.append([name for name in operations if name not in ("record", "keep")])
            shortest.append(min(writes, key=len))
            b.listener.kill()
            assert wait_until(lambda: not b.is_on(), 10)
            a.write()  # knows by then that the other vouches no more

        assert shortest == [["invalidate", "acknowledgements"], ["invalidate"]]

    def test_is_all_that_others_are_sent_a_round_of_the_lease_sends_nothing(
        self, two_hosts, operator
    ):
        with operator.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(register_name())
            assert wait_until(lambda: operator.pubsub_numsub(register_name())[0][1] == 3, 10)
            with two_hosts[0].entered():
                trust._confirming([])
            two_hosts[0].write()
            received = []
            assert wait_until(lambda: received.append(channel.get_message()) or any(received), 10)

        [message] = filter(None, received)
        assert json.loads(message["data"])[2] == [TAG]

    def test_without_acknowledgements_would_leave_a_copy_to_be_served(self, stopped, two_hosts):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hosts.Invalidation, "await_hosts", lambda self, seconds=0: True)
            two_hosts[0].write()

        assert vouched(stopped).serves() == "old"


class TestAHostThatIsStopped:
    def test_delays_a_write_to_the_end_of_its_lease(self, stopped, two_hosts):
        two_hosts[0].write()

        assert stopped.serves() is None

    def test_delays_the_next_write_no_more(self, stopped, two_hosts, operations):
        two_hosts[0].write()
        operations.clear()
        two_hosts[0].write()

        assert "acknowledgements" not in operations

    def test_serves_no_copy_from_before_when_it_goes_on(self, stopped, two_hosts):
        two_hosts[0].write()
        stopped.listener.send_signal(signal.SIGCONT)

        assert wait_until(stopped.is_on, 30)
        assert stopped.serves() is None

    def test_nor_does_one_that_was_struck_out_meanwhile(self, stopped, two_hosts, redis_client):
        redis_client.hdel(register_name(), host_id(stopped))
        two_hosts[0].write()  # of which nobody sends it a message
        stopped.listener.send_signal(signal.SIGCONT)

        assert wait_until(lambda: not stopped.is_on() or stopped.serves() is None, 30)
        assert wait_until(stopped.is_on, 30)
        assert stopped.serves() is None

    def test_keeps_the_lease_from_being_renewed_on_its_copies(self, stopped, two_hosts):
        a, _ = two_hosts
        with a.entered():
            _, invalidation = trust._confirming([TAG])

            assert not invalidation.await_hosts(0.1)
            assert vouched(stopped).serves() == "old"


class TestALostRegister:
    def test_a_write_after_a_flush_leaves_no_copy(self, two_hosts, operator, monkeypatch):
        monkeypatch.setattr(hosts, "_is_whole", whole)
        a, b = two_hosts
        b.keep("old")
        b.listener.send_signal(signal.SIGSTOP)
        operator.flushdb()
        a.write()

        assert b.serves() is None
        b.listener.send_signal(signal.SIGCONT)
        assert wait_until(lambda: a.is_on() and b.is_on(), 30)
        assert b.serves() is None

    def test_a_script_that_the_server_has_not_is_loaded_again(self, two_hosts, operator):
        a, b = two_hosts
        b.keep("old")
        operator.script_flush()
        a.write()

        assert b.serves() is None
