"""A Sentinel, on ::1 and with an account of its own, that watches the tests' Redis."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import redis

from config.stack import Stack, process
from config.stack.redis import Redis

SERVICE: Final = "Primary"  # Sentinel tells it from primary
_USERNAME: Final = "watcher"
_PASSWORD: Final = "w@/&"
ACCOUNT: Final = urlencode({"sentinel_username": _USERNAME, "sentinel_password": _PASSWORD})


@contextmanager
def sentinel_of(stack: Stack, folder: Path) -> Iterator[int]:
    """Run it; yield its port."""
    port = process.free_port()
    server = urlsplit(stack.operator_urls()["REDIS_URL"])
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind ::1\ndir {folder}\n"
        f"user default off\nuser {_USERNAME} on >{_PASSWORD} ~* &* +@all\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {server.port} 1\n"
        f"sentinel auth-user {SERVICE} {server.username}\n"
        f"sentinel auth-pass {SERVICE} {server.password}\n"
    )
    program = Redis(folder, 0, {}).binary().path
    running = subprocess.Popen([program, configuration, "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        assert process.wait_until(lambda: _answers(port), 30)
        yield port
    finally:
        running.terminate()
        running.wait(30)


def _answers(port: int) -> bool:
    client = redis.Redis(host="::1", port=port, username=_USERNAME, password=_PASSWORD)
    with client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
