"""The lead goes to a process that can deliver: a process whose own link to Redis is cut gives it up."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from cachelayer import client, outbox, protocol
from cachelayer.models import OutboxRow
from cachelayer.relay import Relay
from config.stack import ROOT
from config.stack.process import wait_until
from tests.cachelayer.test_read import Loads, get_or_load, key

pytestmark = pytest.mark.django_db(transaction=True)


class Link:
    """A TCP proxy before Redis: one process's link to it, to be cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{port}"))
        self._passes = threading.Event()
        self._passes.set()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: str) -> None:
        """Answer nothing any more; or refuse, and break what is connected."""
        self._passes.clear()
        if how == "refused":
            self.close()

    def close(self) -> None:
        for side in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=[source, target], daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._passes.wait()
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _empty_outbox(_own_cache, transactional_db) -> None:
    OutboxRow.objects.all().delete()


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link(os.environ["REDIS_URL"])
    yield link
    link.close()


@pytest.fixture
def other_process(link, settings) -> Iterator[int]:
    """A relay in another process, which reaches Redis by the link, and leads; the id of its session."""
    name = connection.settings_dict["NAME"]
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    environment = {
        "DATABASE_URL": url,
        "REDIS_URL": link.url,
        "CACHE_PREFIX": settings.CACHELAYER["PREFIX"],
    }
    command = subprocess.Popen(
        [sys.executable, "manage.py", "cache_relay"], cwd=ROOT, env=os.environ | environment
    )
    try:
        assert wait_until(lambda: leader() is not None, 30)
        yield leader()
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(30) == 0


@pytest.fixture
def relay(other_process) -> Iterator[Relay]:
    """A relay in this process, which stands by."""
    running = Relay()
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.stop()
    thread.join()


def leader() -> int | None:
    """The session that holds the lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")
        row = cursor.fetchone()
    return row[0] if row else None


class TestLead:
    @pytest.mark.parametrize("how", ["refused", "silent"])
    def test_a_leader_that_cannot_deliver_gives_the_lead_up_to_one_that_can(
        self, link, relay, other_process, how
    ):
        get_or_load(key(), Loads())
        assert leader() == other_process
        link.cut(how)
        assert protocol.look(key()).fresh

        outbox.add(["word:one"])
        outbox.wake_relay()

        assert wait_until(lambda: not protocol.look(key()).fresh, 30)
        assert wait_until(lambda: relay.leads and leader() not in (None, other_process), 30)
        assert wait_until(lambda: outbox.depth_and_age()[0] == 0, 30)

    def test_it_is_not_taken_by_one_that_does_not_reach_redis(self, link, relay, other_process):
        link.cut("refused")
        outbox.add(["word:one"])
        outbox.wake_relay()
        assert wait_until(lambda: relay.leads, 30)

        relay.stop()

        assert wait_until(lambda: leader() is None, 30)
        assert not wait_until(lambda: leader() is not None, 1.5)

    def test_the_leader_tries_again_before_it_gives_up(self, monkeypatch):
        """One answer that is late is no reason."""
        failures = [client.CacheDown("late")]
        deliver = outbox.deliver

        def late(*, also_not_due):
            if failures:
                raise failures.pop()
            return deliver(also_not_due=also_not_due)

        relay = Relay()
        thread = threading.Thread(target=relay.run)
        thread.start()
        assert wait_until(lambda: relay.leads, 30)
        session = leader()
        monkeypatch.setattr(outbox, "deliver", late)
        outbox.add(["word:one"])
        outbox.wake_relay()

        assert wait_until(lambda: outbox.depth_and_age()[0] == 0, 30)

        assert not failures
        assert relay.leads
        assert leader() == session
        relay.stop()
        thread.join()

    def test_without_redis_nobody_leads_and_once_it_is_back_one_delivers(
        self, stack, closed_breaker
    ):
        relay = Relay()
        thread = threading.Thread(target=relay.run)
        thread.start()
        assert wait_until(lambda: relay.leads, 30)
        stack.kill("redis")
        try:
            outbox.add(["word:one"])
            outbox.wake_relay()
            assert wait_until(lambda: not relay.leads, 30)
        finally:
            stack.start("redis")

        assert wait_until(lambda: relay.leads and outbox.depth_and_age()[0] == 0, 30)
        relay.stop()
        thread.join()
