"""etcd, where Patroni keeps who leads PostgreSQL."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from config.stack.cluster.node import HTTPNode
from config.stack.loopback import direct
from config.stack.server import Binary, binary_from


class Etcd(HTTPNode):
    """One of three: any one of them may fail."""

    stop_seconds: ClassVar[float] = 10.0  # a leader hands its office over

    @property
    def marker(self) -> str:
        return f"--data-dir={self.folder / 'data'}"

    def binary(self) -> Binary:
        return binary_from("STACK_ETCD_BIN", "etcd")

    def prepare(self, binary: Binary) -> None:
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)

    def command(self, binary: Binary) -> Sequence[str | Path]:
        peer = f"http://{self.address(f'{self.name}-peer')}"
        members = [
            f"etcd-{number}=http://{self.address(f'etcd-{number}-peer')}" for number in (1, 2, 3)
        ]
        return [
            *(binary.path, self.marker, f"--name={self.name}"),
            *(f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster={','.join(members)}",
            *("--initial-cluster-token=trilith", "--log-level=warn"),
            *("--heartbeat-interval=100", "--election-timeout=1000"),  # ms, both the defaults
        ]

    def answers(self) -> bool:
        try:
            with direct.open(f"{self.url}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def version(self) -> str:
        with direct.open(f"{self.url}/version", timeout=2) as reply:
            return f"etcd {json.load(reply)['etcdserver']}"
