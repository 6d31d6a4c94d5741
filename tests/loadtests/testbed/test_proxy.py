"""The proxies between a worker and its servers: what passes, waits, is refused, and comes late."""

import socket
import threading

import pytest

from config.stack.process import wait_until
from loadtests.testbed.proxy import running_proxies


class Echo:
    """A server that answers each message with its name and the message, and keeps what it was sent."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.received: list[bytes] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                self.received.append(data)
                connection.sendall(self.name + data)


@pytest.fixture
def echo():
    server = Echo(b"one ")
    yield server
    server.listening.close()


@pytest.fixture
def proxies(echo):
    with running_proxies({"a": echo.port, "b": echo.port}) as running:
        yield running


@pytest.fixture
def connection(proxies):
    with socket.create_connection(("127.0.0.1", proxies.ports["a"]), timeout=20) as connected:
        yield connected


def reply_within(connection, seconds):
    """Return what comes within so long, None where nothing does."""
    connection.settimeout(seconds)
    try:
        return connection.recv(100)
    except TimeoutError:
        return None
    finally:
        connection.settimeout(20)


class TestProxies:
    def test_pass_both_ways_and_know_their_ports(self, proxies, connection, echo):
        connection.sendall(b"hello")

        assert connection.recv(100) == b"one hello"
        assert len(proxies.upstream_ports("a")) == 1
        assert proxies.upstream_ports("b") == set()

    def test_what_is_held_arrives_late(self, proxies, connection, echo):
        proxies.impair("a", mode="hold")
        connection.sendall(b"held")

        assert reply_within(connection, 0.2) is None
        assert echo.received == []

        proxies.impair("a")

        assert connection.recv(100) == b"one held"

    def test_deafened_the_server_acts_and_no_reply_comes(self, proxies, connection, echo):
        proxies.impair("a", mode="deafen")
        connection.sendall(b"act")

        assert wait_until(lambda: echo.received == [b"act"], 20)
        assert reply_within(connection, 0.2) is None

        proxies.impair("a")

        assert connection.recv(100) == b"one act"

    def test_refused_one_alone_is_cut_off_until_that_ends(self, proxies, connection):
        connection.sendall(b"x")
        connection.recv(100)
        proxies.impair("a", mode="refuse")

        assert connection.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxies.ports["a"]), timeout=20)
        socket.create_connection(("127.0.0.1", proxies.ports["b"]), timeout=20).close()

        proxies.impair("a")
        socket.create_connection(("127.0.0.1", proxies.ports["a"]), timeout=20).close()

    def test_diverted_it_leads_to_another_server(self, proxies, connection):
        connection.sendall(b"x")
        connection.recv(100)
        other = Echo(b"two ")

        proxies.divert("a", other.port)

        assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", proxies.ports["a"]), timeout=20) as again:
            again.sendall(b"hello")
            assert again.recv(100) == b"two hello"
        other.listening.close()
