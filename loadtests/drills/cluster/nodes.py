"""The nodes of a cluster, as its drills see them: who leads, whether all serve, and what they take."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psutil

from config.stack import process
from config.stack.cluster import Cluster
from config.stack.cluster.patroni import PatroniNode
from config.stack.process import StackError
from loadtests.drills.cluster.hammer import create

_RECOVERY_SECONDS: Final = 60.0
SITES: Final = "instances"
# The parts of a request's way, and the kinds of nodes that each is made of.
PARTS: Final[Mapping[str, Sequence[str]]] = {
    SITES: ("site",),
    "balancer": ("balancer",),
    "PostgreSQL": ("postgres",),
    "Redis": ("redis",),
    "MongoDB": ("mongodb",),
    "etcd, Sentinels": ("etcd", "sentinel"),
}


def primary(cluster: Cluster, kind: str) -> Any:
    """Return the node of a kind that leads. Raises StackError where none does."""
    for node in cluster.nodes(kind):
        if node.role() == "primary":  # type: ignore[attr-defined]  # these kinds have roles
            return node
    raise StackError(f"no {kind} leads")


def await_service(cluster: Cluster) -> None:
    """
    Wait until every node has its role, and each site and the balancer serve writes of each kind.

    So the next fault is a single one. Raises StackError, or UnexpectedResponse where a write is refused for a minute.
    """

    def has_roles(kind: str) -> bool:
        roles = [node.role() for node in cluster.nodes(kind)]  # type: ignore[attr-defined]
        return roles.count("primary") == 1 and "" not in roles

    for kind in ("postgres", "redis", "mongodb"):
        if not process.wait_until(lambda kind=kind: has_roles(kind), _RECOVERY_SECONDS):  # type: ignore[misc]
            raise StackError(f"not every {kind} has its role again")
    # A replica is one some seconds before Patroni may promote it.
    if not process.wait_until(
        lambda: any(node.is_synchronous_standby() for node in cluster.nodes("postgres")),  # type: ignore[attr-defined]  # of this kind
        _RECOVERY_SECONDS,
    ):
        raise StackError("no postgres is a synchronous standby again")
    for node in (*cluster.nodes("site"), *cluster.nodes("balancer")):
        if not process.wait_until(node.answers, _RECOVERY_SECONDS):
            raise StackError(f"{node.name} does not answer")
    # Roles are not enough: each process finds the new primary, and ends its outage, by itself.
    for url in (*(site.url for site in cluster.nodes("site")), cluster.url):
        user = f"served-{time.time_ns()}"  # a profile that exists would be no write
        create(url, "note", user)
        create(url, "profile", user)


def roots(cluster: Cluster) -> dict[str, list[psutil.Process]]:
    """Return the processes of each of PARTS from which all its others descend."""
    found = {}
    for part, kinds in PARTS.items():
        nodes = [node for kind in kinds for node in cluster.nodes(kind)]
        # Patroni starts PostgreSQL, but is not its parent.
        postmasters = [node.postmaster() for node in nodes if isinstance(node, PatroniNode)]
        processes = (*(node.process() for node in nodes), *postmasters)
        found[part] = [root for root in processes if root]
    return found


def memory_mib(cluster: Cluster) -> float:
    """Return the memory of all processes of the cluster: shared pages counted in proportion (PSS)."""
    family = {
        member
        for processes in roots(cluster).values()
        for root in processes
        for member in (root, *root.children(recursive=True))
    }
    total = 0
    for member in family:
        with contextlib.suppress(psutil.Error):  # it has just ended
            total += member.memory_full_info().pss
    return total / 2**20
