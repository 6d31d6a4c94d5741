"""What notes cost: the round trips to Redis."""

import threading

import pytest
import redis


@pytest.fixture
def round_trips(monkeypatch):
    """
    What this thread sends to Redis, an element for each write to the socket.

    Not what a new connection begins with, nor what the keeper of the lease asks meanwhile.
    """
    here, sent = threading.get_ident(), []
    send = redis.connection.AbstractConnection.send_packed_command

    def counting(self, command, *args, **kwargs):
        if threading.get_ident() == here and b"INFO" not in b"".join(command):
            sent.append(command)
        return send(self, command, *args, **kwargs)

    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counting)
    return sent
