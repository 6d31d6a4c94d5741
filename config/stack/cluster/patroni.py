"""PostgreSQL under Patroni: one leads, the other follows synchronously and takes over."""

import http.client
import json
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final

import psutil
import yaml

from config.stack import process
from config.stack.cluster.node import Node
from config.stack.loopback import direct
from config.stack.postgres import Postgres, create_role_and_database
from config.stack.server import Binary

# A leader that is gone with its host keeps its key so long: 20 s is the least that Patroni takes
# (patroni/config.py). One whose PostgreSQL alone died gives it up at once.
_LEADER_SECONDS: Final = 20


class PatroniNode(Node, Postgres):
    """A node: Patroni, and the PostgreSQL that it starts. Acknowledged writes are on both nodes."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds: ClassVar[float] = 15.0  # PostgreSQL's checkpoint, and the leader's key

    @property
    def marker(self) -> str:
        return str(self.folder / "patroni.yml")

    @property
    def api(self) -> str:
        """Patroni's own interface: who leads, and how far behind the other is."""
        return f"http://{self.address(f'{self.name}-api')}"

    def prepare(self, binary: Binary) -> None:
        for orphan in process.living_in(self.data):
            process.kill(orphan)
        configuration = Path(self.marker)
        configuration.touch(0o600)
        configuration.write_text(yaml.safe_dump(self._configuration(binary)))
        if os.geteuid() == 0 and self._nobody_can_reach(binary):
            nobody = pwd.getpwnam("nobody")
            for owned in (self.folder, configuration):
                os.chown(owned, nobody.pw_uid, nobody.pw_gid)

    def _nobody_can_reach(self, binary: Binary) -> bool:
        python = Path(sys.executable).resolve()
        readable = all(parent.stat().st_mode & 0o001 for parent in python.parents)
        return readable and super()._nobody_can_reach(binary)

    def _belongs_to_nobody(self) -> bool:
        return self.folder.stat().st_uid != 0

    def _configuration(self, binary: Binary) -> dict[str, Any]:
        superuser = {"username": "postgres", "password": self.passwords["postgres_superuser"]}
        return {
            "scope": "trilith",
            "name": self.name,
            "log": {"level": "WARNING"},
            "restapi": {
                "listen": self.api.removeprefix("http://"),
                "connect_address": self.api.removeprefix("http://"),
            },
            "etcd3": {"hosts": ",".join(self.addresses("etcd"))},
            "bootstrap": {
                "dcs": {
                    "ttl": _LEADER_SECONDS,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "synchronous_mode": True,
                    "failsafe_mode": True,  # goes on leading without etcd while the other agrees
                    "primary_start_timeout": 0,  # rather fail over than wait for a crash recovery
                    "maximum_lag_on_failover": 1_048_576,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": [
                    {"auth": "scram-sha-256"},
                    {"encoding": "UTF8"},
                    {"locale": "C.UTF-8"},
                    "data-checksums",
                ],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": str(binary.path),
                "pgpass": str(self.folder / "pgpass"),
                "basebackup": [{"checkpoint": "fast"}],
                "authentication": {"superuser": superuser, "replication": superuser},
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
                "parameters": {
                    "max_connections": 200,
                    "shared_buffers": "64MB",
                    "unix_socket_directories": "",
                    "timezone": "UTC",
                    "log_timezone": "UTC",
                },
            },
        }

    def command(self, binary: Binary) -> Sequence[str | Path]:
        return [*self._as_ordinary_user(), sys.executable, "-m", "patroni", self.marker]

    def _is_settled(self, running: psutil.Process) -> bool:
        return not process.is_alive(running) or self.answers()

    def answers(self) -> bool:
        return self.role() in ("primary", "replica")

    def role(self) -> str:
        """Return primary or replica; empty while PostgreSQL does not run, or Patroni does not say."""
        try:
            with direct.open(f"{self.api}/health", timeout=2) as reply:
                state = json.load(reply)
        except (OSError, ValueError):
            return ""
        role: str = state.get("role", "") if state.get("state") == "running" else ""
        return "primary" if role in ("master", "primary") else "replica" if role else ""

    def is_synchronous_standby(self) -> bool:
        """Return whether Patroni may promote this node: what was acknowledged is there, too."""
        try:
            with direct.open(f"{self.api}/synchronous", timeout=2) as reply:
                return bool(reply.status == HTTPStatus.OK)
        except (OSError, http.client.HTTPException):
            return False

    def settle(self) -> None:
        """Create the site's role and database, where this node leads."""
        if self.role() == "primary":
            with self._superuser("postgres") as connection:
                create_role_and_database(connection, self.passwords["postgres"])

    def postmaster(self) -> psutil.Process | None:
        """Return the PostgreSQL of this node."""
        try:
            return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError, psutil.Error):
            return None

    def end(self) -> None:
        """SIGKILL both, as if the host were gone; Patroni first, which would start the other again."""
        running = self.process()
        if running is not None:
            process.kill(running, [running])
        for backend in process.living_in(self.data):
            if process.is_alive(backend):
                process.kill(backend)
        if running is not None:
            self._await_port()

    def pause(self) -> None:
        """SIGSTOP both."""
        super().pause()
        for backend in process.living_in(self.data):
            process.pause(backend)

    def resume(self) -> None:
        """SIGCONT both."""
        super().resume()
        for backend in process.living_in(self.data):
            process.resume(backend)
