"""What the nodes of a cluster have beside a single server: a number, and all the others' ports."""

from collections.abc import Mapping
from pathlib import Path

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
