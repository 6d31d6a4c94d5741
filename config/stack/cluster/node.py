"""What the nodes of a cluster have beside a single server: a number, and all the others' ports."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.stack.cluster import partition
from config.stack.server import Server

Ports = Mapping[str, int]


class Node(Server):
    """
    One server of several of its kind. ports has every port of the cluster, by node.

    Listed first among the bases, before the server that it is a node of.
    """

    def __init__(self, name: str, cluster: Path, ports: Ports, passwords: dict[str, str]) -> None:
        super().__init__(cluster / name, ports[name], passwords)
        self.name = name
        self.ports = ports

    @property
    def number(self) -> int:
        return int(self.name.rpartition("-")[2])

    @property
    def group(self) -> int:
        """The group id of its processes, which no other node of the cluster has, where root starts them."""
        return partition.FIRST_GROUP + sorted(self.ports).index(self.name)

    def identity(self) -> dict[str, Any]:
        own = super().identity()
        return own if os.geteuid() else own | {"group": self.group}

    def side(self) -> partition.Side:
        """Return what a partition must know of the node."""
        ports = [
            port for name, port in self.ports.items() if f"{name}-".startswith(f"{self.name}-")
        ]
        running = self.process()
        family = [running, *running.children(recursive=True)] if running else []
        return partition.Side(self.group, ports, family)

    def address(self, name: str) -> str:
        """Return host and port of a node."""
        return f"127.0.0.1:{self.ports[name]}"

    def addresses(self, kind: str) -> list[str]:
        """Return host and port of every node of a kind, by number."""
        numbers = [
            int(name.rpartition("-")[2]) for name in self.ports if name.rpartition("-")[0] == kind
        ]
        return [self.address(f"{kind}-{number}") for number in sorted(numbers)]


class HTTPNode(Node):
    """A node that is spoken to by HTTP alone, and has no users to create."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operator_url(self) -> str:
        return self.url

    def settle(self) -> None:
        """Do nothing."""
