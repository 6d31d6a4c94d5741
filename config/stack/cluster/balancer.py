"""HAProxy before the instances of the site: sends requests to those that are ready."""

import csv
import socket
from collections.abc import Sequence
from pathlib import Path

from config.stack.cluster.node import HTTPNode, Ports
from config.stack.server import Binary, binary_from
from config.stack.site import is_answering

_CONFIGURATION = """\
# For drills on one machine, over plain HTTP; config/deploy/haproxy.cfg is the example to deploy.
global
    maxconn 4000
    stats socket {socket} mode 600 level admin

defaults
    mode http
    timeout connect 500ms
    timeout client 30s
    timeout server 10s
    timeout check 2s
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response

frontend trilith
    bind 127.0.0.1:{port}
    option http-restrict-req-hdr-names delete
    # Where no instance is ready, because a store that all of them need is away, each that lives answers
    # better than this proxy could: from its cache, or a 503 that says when to come back.
    use_backend alive if {{ nbsrv(trilith) eq 0 }}
    default_backend trilith

backend trilith
    # A write is sent again only where it was not sent at all: on a connection that was refused.
    http-request disable-l7-retry if !METH_GET
    balance roundrobin
    option httpchk GET /health/ready
    default-server check inter 500ms fall 2 rise 1
{servers}

backend alive
    http-request disable-l7-retry if !METH_GET
    balance roundrobin
    option httpchk GET /health/live
    default-server check inter 500ms fall 2 rise 1
{servers}
"""


class Balancer(HTTPNode):
    """One HAProxy: where it fails, all fails. In production there are two, or the cloud's."""

    def __init__(
        self, name: str, cluster: Path, ports: Ports, passwords: dict[str, str], *, sites: int
    ) -> None:
        super().__init__(name, cluster, ports, passwords)
        self._sites = sites

    @property
    def marker(self) -> str:
        return str(self.folder / "haproxy.cfg")

    def binary(self) -> Binary:
        return binary_from("STACK_HAPROXY_BIN", "haproxy")

    def start(self) -> None:
        """Start it, or start it anew where it runs for other sites. Raises StackError."""
        if self.process() and Path(self.marker).read_text() != self._configuration():
            self.stop()
        super().start()

    def prepare(self, binary: Binary) -> None:
        Path(self.marker).write_text(self._configuration())

    def _configuration(self) -> str:
        servers = [
            f"    server site-{number} {self.address(f'site-{number}')}"
            for number in range(1, self._sites + 1)
        ]
        return _CONFIGURATION.format(
            socket=self.folder / "admin.sock", port=self.port, servers="\n".join(servers)
        )

    def command(self, binary: Binary) -> Sequence[str | Path]:
        return [binary.path, "-db", "-f", self.marker]

    def answers(self) -> bool:
        return is_answering(self.url)

    def version(self) -> str:
        return f"HAProxy {self.admin('show info').split('Version: ')[1].split()[0]}"

    def sends_to(self, name: str) -> bool:
        """Return whether an instance is ready, as the balancer sees it."""
        table = csv.DictReader(self.admin("show stat").removeprefix("# ").splitlines())
        return any(
            (row["pxname"], row["svname"], row["status"]) == ("trilith", name, "UP")
            for row in table
        )

    def admin(self, command: str) -> str:
        """Run one command on its admin socket, such as set server trilith/site-1 state drain."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "admin.sock"))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
