"""An instance of the site, as a server of the cluster."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from config.stack import process
from config.stack.cluster.node import HTTPNode, Ports
from config.stack.server import ENVIRONMENT, Binary
from config.stack.site import DRAIN_SECONDS, is_answering

_NOTICE_SECONDS = 2.0  # the balancer asks each half second
_ROOT = Path(__file__).resolve().parents[3]


class Site(HTTPNode):
    """One worker process; spool, slots and metrics are its own, as on a host of its own."""

    stop_seconds: ClassVar[float] = _NOTICE_SECONDS + DRAIN_SECONDS + 2

    def __init__(
        self,
        name: str,
        cluster: Path,
        ports: Ports,
        passwords: dict[str, str],
        urls: dict[str, str],
    ) -> None:
        super().__init__(name, cluster, ports, passwords)
        self._urls = urls

    @property
    def marker(self) -> str:
        return str(self.folder / "site")

    def binary(self) -> Binary:
        return Binary(Path(sys.executable), "this checkout")

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        return {
            **ENVIRONMENT,
            **self._urls,
            "PATH": os.environ.get("PATH", ENVIRONMENT["PATH"]),
            "SECRET_KEY": self.passwords["site_key"],
            "ADMIN_TOKEN": self.passwords["site_staff"],
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "ACTIVITY_SPOOL_DIR": str(self.folder / "spool"),
            "CACHE_SLOTS_DIR": str(self.folder / "slots"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / "metrics"),
            "POSTGRES_POOL_MIN": "2",
            "MONGODB_POOL_MIN": "2",
            "PYTHON_DOTENV_DISABLED": "1",
            "PYTHONPATH": str(_ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_WORKERS": "1",
            "CACHE_VERSION": os.environ.get("CACHE_VERSION") or "1",  # of the version rolled out
            "SHUTDOWN_NOTICE_SECONDS": str(_NOTICE_SECONDS),
        }

    def prepare(self, binary: Binary) -> None:
        (self.folder / "metrics").mkdir(exist_ok=True)

    def command(self, binary: Binary) -> Sequence[str | Path]:
        # An argument that the module does not read: by it the process is recognised.
        return [binary.path, "-m", "config.stack.site", self.marker]

    def answers(self) -> bool:
        return is_answering(self.url)

    def _is_settled(self, running: psutil.Process) -> bool:
        return not process.is_alive(running) or self.answers()

    def version(self) -> str:
        return "this checkout"
