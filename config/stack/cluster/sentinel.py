"""Valkey with a replica, and the Sentinels that promote it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import redis

from config.stack.cluster.node import Node
from config.stack.redis import Redis
from config.stack.server import Binary

SERVICE: Final = "trilith"  # by this name Sentinel knows the primary
_DOWN_AFTER_MS: Final = 1000


class Replicated(Node, Redis):
    """
    The first leads at the very first start, the second follows; Sentinel says so from then on.

    Sentinel writes into their configuration who follows whom, so that is written once.
    """

    def prepare(self, binary: Binary) -> None:
        if Path(self.marker).exists():
            return
        super().prepare(binary)
        settings = {
            "masteruser": "operator",
            "masterauth": self.passwords["redis_operator"],
            "repl-diskless-sync-delay": "0",
            "replica-announce-ip": "127.0.0.1",
        }
        if self.number > 1:
            settings["replicaof"] = f"127.0.0.1 {self.ports['redis-1']}"
        with Path(self.marker).open("a") as configuration:
            configuration.writelines(f"{name} {value}\n" for name, value in settings.items())

    def role(self) -> str:
        """Return primary or replica; empty where it does not answer."""
        try:
            with self._client() as client:
                role: Any = client.execute_command("ROLE")
        except redis.RedisError:
            return ""
        return "primary" if role[0] in (b"master", "master") else "replica"


class Sentinel(Node, Redis):
    """One of three, of which two must agree that the primary is gone."""

    @property
    def marker(self) -> str:
        return str(self.folder / "sentinel.conf")

    def prepare(self, binary: Binary) -> None:
        configuration = Path(self.marker)
        if configuration.exists():
            return
        configuration.touch(0o600)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self.folder}"',
            "daemonize no",
            "set-proc-title no",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.ports['redis-1']} 2",
            f"sentinel auth-user {SERVICE} operator",
            f"sentinel auth-pass {SERVICE} {self.passwords['redis_operator']}",
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 6000",
            f"sentinel parallel-syncs {SERVICE} 1",
        ]
        configuration.write_text("\n".join(lines) + "\n")

    def command(self, binary: Binary) -> Sequence[str | Path]:
        return [binary.path, self.marker, "--sentinel"]

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, socket_connect_timeout=2)

    def primary(self) -> tuple[str, int]:
        """Return host and port of what this Sentinel takes for the primary."""
        with self._client() as client:
            host, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return host.decode(), int(port)

    def version(self) -> str:
        return f"{super().version()}, Sentinel"
