"""Ports on loopback: free, in use, and privileged."""

import socket

import pytest

from config.stack import process
from config.stack.process import StackError


class TestPortIsFree:
    def test_a_port_on_which_somebody_listens_is_not(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            assert not process.port_is_free(port)
        assert process.port_is_free(port)

    def test_a_privileged_port_is_refused_with_the_remedy(self, monkeypatch):
        # A fault that a test run by root cannot have.
        def refuse(self: socket.socket, address: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket.socket, "bind", refuse)

        with pytest.raises(StackError, match=r"^port 80 needs rights .*: use a port from 1024 on$"):
            process.port_is_free(80)
