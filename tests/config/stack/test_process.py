"""Ports on loopback: free, in use, and privileged."""

import socket
import subprocess
import sys

import psutil
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


# Threads that work outside of the interpreter's lock, each on any processor.
BUSY = """
import hashlib, threading
for _ in range(8):
    threading.Thread(target=lambda: [hashlib.sha256(bytes(10_000_000)) for _ in range(10_000)]).start()
print("ready", flush=True)
"""


class TestPause:
    def test_ends_once_no_thread_runs(self):
        with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
            try:
                assert busy.stdout.readline() == b"ready\n"
                process.pause(psutil.Process(busy.pid))

                assert not process._has_running_thread(psutil.Process(busy.pid))
            finally:
                busy.kill()
