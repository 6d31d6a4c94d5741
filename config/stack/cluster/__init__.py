"""
The same three stores, replicated, and several sites behind a balancer: all on one machine.

PostgreSQL under Patroni with etcd, Valkey under Sentinel, a replica set of MongoDB, and HAProxy before
N sites. Every program comes from a wheel (requirements-cluster.txt). It is for drills: a machine that fails takes all of it.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from config.stack import ROOT, Memory, Stack, process, unknown
from config.stack.cluster import partition
from config.stack.cluster.balancer import Balancer
from config.stack.cluster.etcd import Etcd
from config.stack.cluster.node import Node, Ports
from config.stack.cluster.patroni import PatroniNode
from config.stack.cluster.replica_set import Member
from config.stack.cluster.sentinel import Replicated, Sentinel
from config.stack.cluster.site import Site
from config.stack.process import StackError
from config.stack.server import START_SECONDS, Server

NUMBERS: Final = {"etcd": 3, "postgres": 2, "redis": 2, "sentinel": 3, "mongodb": 3}
SITES_MAX: Final = 8
_SITES_MIN: Final = 2  # one serves while another is replaced
# Each starts once all of the line before answer.
_ORDER: Final = (("etcd", "redis", "mongodb"), ("postgres", "sentinel"), ("site",), ("balancer",))


class Cluster(Stack):
    """
    The replicated stores, `sites` instances of the site, and the balancer before them.

    A node is named by its kind and number, such as postgres-2. No server is external. Every method
    raises StackError with one line that says what to do.
    """

    passwords = (*Stack.passwords, "site_key", "site_staff")
    topology = "ha"

    def __init__(self, name: str = "ha", root: Path = ROOT, *, sites: int = 2) -> None:
        super().__init__(name, root, own_only=True)
        self.sites = sites

    @property
    def url(self) -> str:
        """Where the balancer listens."""
        return f"http://127.0.0.1:{self._known().ports['balancer']}"

    def urls(self) -> dict[str, str]:
        """Return DATABASE_URL, REDIS_URL and MONGODB_URI, each of which names every node."""
        known = self._known()
        return _urls(known.ports, known.passwords, operator=False)

    def operator_urls(self) -> dict[str, str]:
        """Return the same with all privileges."""
        known = self._known()
        return _urls(known.ports, known.passwords, operator=True)

    def node(self, name: str) -> Server:
        """Return one node. Raises StackError, which names those that there are."""
        return self._one(name)

    def nodes(self, kind: str) -> list[Server]:
        """Return the nodes of a kind, by number."""
        return [node for node in self._own() if _kind(node) == kind]

    def partition(self, names: Sequence[str], others: Sequence[str] = ()) -> None:
        """
        Cut nodes off from others, by default from all others, until heal: packets between them are lost.

        Both are names of nodes, or of a kind for all its nodes. What was cut before stays cut.
        """
        one_side = self._nodes_called(names)
        other_side = self._nodes_called(others) if others else self._own()
        pairs = [
            (node.side(), other.side())
            for node in one_side
            for other in other_side
            if other.name not in {same.name for same in one_side}
            if isinstance(node, Node) and isinstance(other, Node)
        ]
        if not pairs:
            raise StackError(f"there is nothing between {', '.join(names)} and itself to cut")
        partition.cut(self._table, pairs)

    def reset(self) -> None:
        self.heal()
        self._stop(self._sites_beyond(unknown()))
        super().reset()

    def heal(self) -> None:
        """End every partition."""
        partition.heal(self._table)

    @property
    def _table(self) -> str:
        return "trilith_" + hashlib.sha256(bytes(self.folder)).hexdigest()[:12]

    def _nodes_called(self, names: Sequence[str]) -> list[Server]:
        nodes = self._own()
        if not nodes:
            raise StackError("it was never started: python -m config.stack --topology ha up")
        for name in names:
            if not any(name in (node.name, _kind(node)) for node in nodes):
                raise StackError(
                    f"there is no node {name}; there are {', '.join(node.name for node in nodes)}"
                )
        return [node for node in nodes if node.name in names or _kind(node) in names]

    def rolling_restart(self) -> None:
        """
        Bring the schema up to date, then replace one site after the other by the present code.

        Each fails its readiness first, so that the balancer sends it nothing new, and finishes what it
        has; the next one follows once the balancer sends to it again. Raises StackError where it does
        not: then those that were not replaced yet serve on.
        """
        with self._locked():
            if self.sites < _SITES_MIN:
                raise StackError(f"a rolling restart needs {_SITES_MIN} sites or more: --sites")
            sites = self.nodes("site")
            balancer = next((node for node in self._own() if isinstance(node, Balancer)), None)
            if balancer is None or not all(node.process() for node in (*sites, balancer)):
                raise StackError("not all sites run, or the balancer does not: up starts them")
            more = [site.name for site in self._sites_beyond(self._remembered()) if site.process()]
            if more:  # which would stay as they are
                raise StackError(f"{', '.join(more)} run as well: say how many with --sites")
            self._migrate()
            for site in sites:
                site.stop()
                site.start()
                if not process.wait_until(partial(balancer.sends_to, site.name), START_SECONDS):
                    raise StackError(f"{site.name} does not become ready (log: {site.log})")

    def _choose_ports(self) -> dict[str, int]:
        names = [
            *(
                f"{kind}-{number}"
                for kind, most in NUMBERS.items()
                for number in range(1, most + 1)
            ),
            *(f"etcd-{number}-peer" for number in range(1, NUMBERS["etcd"] + 1)),
            *(f"postgres-{number}-api" for number in range(1, NUMBERS["postgres"] + 1)),
            *(f"site-{number}" for number in range(1, SITES_MAX + 1)),
            "balancer",
        ]
        chosen: dict[str, int] = {}
        for name in names:
            while (port := process.free_port()) in chosen.values():
                pass
            chosen[name] = port
        return chosen

    def _servers(self, known: Memory) -> list[Server]:
        ports, passwords = known.ports, known.passwords
        kinds: dict[str, type[Node]] = {
            "etcd": Etcd,
            "postgres": PatroniNode,
            "redis": Replicated,
            "sentinel": Sentinel,
            "mongodb": Member,
        }
        nodes: list[Server] = [
            make(f"{kind}-{number}", self.folder, ports, passwords)
            for kind, make in kinds.items()
            for number in range(1, NUMBERS[kind] + 1)
        ]
        balancer = Balancer("balancer", self.folder, ports, passwords, sites=self.sites)
        return [*nodes, *self._sites(known, range(1, self.sites + 1)), balancer]

    def _sites(self, known: Memory, numbers: Iterable[int]) -> list[Server]:
        ports, passwords = known.ports, known.passwords
        environment = _urls(ports, passwords, operator=False)
        return [
            Site(f"site-{number}", self.folder, ports, passwords, environment) for number in numbers
        ]

    def _sites_beyond(self, known: Memory | None) -> list[Server]:
        """Return the sites of an up with more of them, which are to end with all others."""
        return self._sites(known, range(self.sites + 1, SITES_MAX + 1)) if known else []

    def _each(self, act: object) -> None:
        """Start the nodes, a line of _ORDER at a time; the schema comes before the sites."""
        nodes = self._make()
        for kinds in _ORDER:
            if kinds == ("site",) and not all(node.process() for node in self.nodes("site")):
                self._migrate()
            with ThreadPoolExecutor(8) as pool:
                outcomes = [pool.submit(node.start) for node in nodes if _kind(node) in kinds]
            for outcome in outcomes:
                outcome.result()

    def _stop_all(self) -> list[str]:
        """Stop the sites while their stores answer, then those; the last to start goes first."""
        self.heal()
        nodes = [*self._own(), *self._sites_beyond(self._remembered())]
        killed = []
        for kinds in reversed(_ORDER):
            killed += self._stop(node for node in nodes if _kind(node) in kinds)
        return killed

    def _make(self) -> list[Server]:
        super()._make()
        self.folder.chmod(0o711)
        return self._own()

    def _migrate(self) -> None:
        """Bring the schema up to date, as one of many instances does it under a lock."""
        site = self.nodes("site")[0] if self.sites else None
        if not isinstance(site, Site):
            return
        environment = site.environment()
        del environment["PROMETHEUS_MULTIPROC_DIR"]  # only what serves counts
        for command in (("migrate", "--no-input", "--verbosity=0"), ("mongo_indexes", "--ensure")):
            process.run(
                [sys.executable, ROOT / "manage.py", *command],
                environment=environment,
                identity={},
            )


def reset(name: str, root: Path = ROOT) -> None:
    """Reset the stack of that name, whatever its topology. Raises StackError."""
    for topology in (Cluster, Stack):
        topology(name, root).reset()


def reset_all(root: Path = ROOT) -> None:
    """Reset every stack of the checkout. Raises StackError."""
    for lock in (root / ".stack").glob("*/lock"):
        reset(lock.parent.name, root)


def _kind(node: Server) -> str:
    return node.name.partition("-")[0]


def _urls(ports: Ports, passwords: dict[str, str], *, operator: bool) -> dict[str, str]:
    def hosts(kind: str) -> str:
        return ",".join(
            f"127.0.0.1:{ports[f'{kind}-{number}']}" for number in range(1, NUMBERS[kind] + 1)
        )

    def account(ordinary: str, operator_name: str, ordinary_key: str, operator_key: str) -> str:
        name, key = (operator_name, operator_key) if operator else (ordinary, ordinary_key)
        return f"{name}:{passwords[key]}"

    postgres = account("trilith", "postgres", "postgres", "postgres_superuser")
    redis = account("trilith", "operator", "redis", "redis_operator")
    mongodb = account("trilith", "root", "mongodb", "mongodb_root")
    return {
        "DATABASE_URL": f"postgresql://{postgres}@{hosts('postgres')}/trilith",
        "REDIS_URL": f"redis+sentinel://{redis}@{hosts('sentinel')}/trilith/0",
        "MONGODB_URI": f"mongodb://{mongodb}@{hosts('mongodb')}/trilith"
        "?authSource=admin&replicaSet=rs0&w=majority&retryWrites=true",
    }
