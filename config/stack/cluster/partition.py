"""
Cut nodes off from each other on one machine, by nftables.

Each node's processes run under a group id of its own, so a packet between two nodes is known by the group of
the socket that sends it and by the port that it goes to. It is dropped, not refused: like behind a broken
switch, each side learns of it by its own deadlines alone. Needs Linux, root, and nft (Debian's nftables).
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from config.stack.process import StackError

FIRST_GROUP: Final = 61_000  # Debian leaves 60000 to 64999 to what an administrator needs


@dataclass(frozen=True)
class Side:
    """One node: the group id of its processes, the ports that it listens on, and its processes."""

    group: int
    ports: Sequence[int]
    processes: Sequence[psutil.Process]


def cut(table: str, pairs: Iterable[tuple[Side, Side]]) -> None:
    """Drop what the two of each pair send each other, until heal. Raises StackError."""
    pairs = list(pairs)
    _run(f"add table inet {table}")
    _run(
        f"add chain inet {table} output {{ type filter hook output priority 0; }}\n"
        + "".join(_new_connections(table, *pair) for pair in pairs)
    )
    # Only now, when no pair connects any more: what is connected already sends to ports that nobody knows beforehand.
    _run("".join(_open_connections(table, *pair) for pair in pairs))


def heal(table: str) -> None:
    """Let everything pass again; without effect where nothing was cut. Raises StackError."""
    if shutil.which("nft") and os.geteuid() == 0:
        _run(f"add table inet {table}\ndelete table inet {table}")


def _new_connections(table: str, one: Side, other: Side) -> str:
    return _rule(table, one.group, other.ports) + _rule(table, other.group, one.ports)


def _open_connections(table: str, one: Side, other: Side) -> str:
    """Return the rules for what is connected: by ports alone, since a socket that was closed has no group any more."""
    return "".join(
        f"add rule inet {table} output tcp sport {local} tcp dport {remote} drop\n"
        for pair in _connected(one, other) | _connected(other, one)
        for local, remote in (pair, pair[::-1])
    )


def _rule(table: str, group: int, ports: Sequence[int]) -> str:
    if not ports:
        return ""
    listed = ", ".join(map(str, sorted(ports)))
    return f"add rule inet {table} output meta skgid {group} tcp dport {{ {listed} }} drop\n"


def _connected(client: Side, server: Side) -> set[tuple[int, int]]:
    """Return local and remote port of each of the client's connections to the server."""
    connections = set()
    for process in client.processes:
        with contextlib.suppress(
            psutil.NoSuchProcess
        ):  # it has just ended, and its connections with it
            connections |= {
                (connection.laddr.port, connection.raddr.port)
                for connection in process.net_connections("tcp")
                if getattr(connection.raddr, "port", None) in server.ports  # () where it listens
            }
    return connections


def require_nft() -> str:
    """Return the path of nft. Raises StackError where there can be no partition."""
    nft = shutil.which("nft")
    if nft is None or os.geteuid() != 0:
        raise StackError(
            "a partition needs Linux, root, and nft: apt-get install nftables, and run this as root"
        )
    return nft


def _run(script: str) -> None:
    nft = require_nft()
    done = subprocess.run(
        [nft, "-f", "-"], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"nft refused the partition: {done.stderr.strip().splitlines()[0]}")
