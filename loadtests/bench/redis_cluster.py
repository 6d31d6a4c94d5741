"""python -m loadtests redis-cluster: what a look and an invalidation cost in a cluster of three, by key layout."""

import argparse
import itertools
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisClusterException
from rich.console import Console
from rich.table import Table

from config.stack.process import StackError, die_with_parent, free_port, wait_until
from config.stack.redis import Redis

NODES: Final = 3
SLOTS: Final = 16_384
BUCKETS: Final = 64  # of the layout with copies of shared stamps
ENTRIES: Final = 50
ROUNDS: Final = 5
_START_SECONDS: Final = 30
_VALUE: Final = b"x" * 500


class Counted(redis.Connection):
    """A connection that counts messages, and the round trips that follow each other, over all of its kind."""

    messages: ClassVar[int] = 0
    round_trips: ClassVar[int] = 0
    _is_reading: ClassVar[bool] = True

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        Counted.messages += 1
        if Counted._is_reading:  # it was sent after a reply: one more to wait for
            Counted.round_trips += 1
            Counted._is_reading = False
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        Counted._is_reading = True
        return super().read_response(*args, **options)


class Names(NamedTuple):
    """The keys of one look, and those that a write of that note deletes."""

    entry: str
    own_stamp: str
    shared_stamp: str  # of the namespace: every entry carries it
    written: tuple[str, ...]
    cleared: tuple[str, ...]  # deleted to clear the namespace


class Measurement(NamedTuple):
    """What one operation took: nodes, messages and round trips by count, and time."""

    nodes: float
    messages: float
    round_trips: float
    microseconds: float


def plain(number: int) -> Names:
    """Return the names as they are now: each key in a slot of its own."""
    tags = (f"note:{number}", f"notes:user:{number % 50}", "notes:all")
    own, *lists = (f"t:stamp:{tag}" for tag in tags)
    shared = "t:stamp:namespace:notes"
    return Names(f"t:v1:notes:{number}", own, shared, (own, *lists), (shared,))


def tagged(number: int) -> Names:
    """Return names with an entry in the slot of its own tag's stamp; the namespace's stamp is elsewhere."""
    tags = (f"note:{number}", f"notes:user:{number % 50}", "notes:all")
    own, *lists = (f"t:stamp:{{{tag}}}" for tag in tags)
    shared = "t:stamp:namespace:notes"
    return Names(f"t:v1:{{{tags[0]}}}", own, shared, (own, *lists), (shared,))


def copied(number: int) -> Names:
    """Return the same by buckets of tags, with a copy of the namespace's stamp in each bucket."""
    tags = (f"note:{number}", f"notes:user:{number % 50}", "notes:all")
    own, *lists = (f"t:stamp:{{{_bucket(tag)}}}:{tag}" for tag in tags)
    bucket = _bucket(tags[0])
    shared = [f"t:stamp:{{{other}}}:namespace:notes" for other in range(BUCKETS)]
    return Names(
        f"t:v1:{{{bucket}}}:notes:{number}", own, shared[bucket], (own, *lists), tuple(shared)
    )


def _bucket(tag: str) -> int:
    return key_slot(tag.encode()) % BUCKETS


def look_by_mget(client: Any, names: Names) -> Any:
    return client.mget(names.entry, names.own_stamp, names.shared_stamp)


def look_by_pipeline(client: Any, names: Names) -> Any:
    """Send a GET of each key to its node, then read the replies."""
    pipe = client.pipeline(transaction=False)
    for name in (names.entry, names.own_stamp, names.shared_stamp):
        pipe.get(name)
    return pipe.execute()


def write_by_unlink(client: Any, names: Names) -> Any:
    return client.unlink(*names.written)


def write_by_pipeline(client: Any, names: Names) -> Any:
    return _unlink_each(client, names.written)


def clear_by_pipeline(client: Any, names: Names) -> Any:
    return _unlink_each(client, names.cleared)


def _unlink_each(client: Any, names: Sequence[str]) -> Any:
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.unlink(name)
    return pipe.execute()


Layout = Callable[[int], Names]
Operation = Callable[[Any, Names], Any]
# What is measured: where, the layout, the operation; the first two are today's.
CASES: Final[Sequence[tuple[str, str, Layout, Operation]]] = (
    ("look", "one node, MGET", plain, look_by_mget),
    ("look", "cluster, keys as they are, MGET", plain, look_by_mget),
    ("look", "cluster, keys as they are, pipelined to the nodes", plain, look_by_pipeline),
    ("look", "cluster, hash tag of the entry, MGET", tagged, look_by_mget),
    ("look", "cluster, hash tag of the entry, pipelined to the nodes", tagged, look_by_pipeline),
    ("look", "cluster, shared stamps copied by bucket, MGET", copied, look_by_mget),
    ("write", "one node, UNLINK", plain, write_by_unlink),
    ("write", "cluster, hash tag of the entry, pipelined to the nodes", tagged, write_by_pipeline),
    ("write", "cluster, shared stamps copied by bucket, pipelined", copied, write_by_pipeline),
    ("clear", "one node, UNLINK", plain, clear_by_pipeline),
    ("clear", "cluster, shared stamps copied by bucket, pipelined", copied, clear_by_pipeline),
)


def run(options: argparse.Namespace) -> int:
    """Measure and print; return 0. Raises StackError."""
    with clients() as (single, cluster):
        measurements = measure(single, cluster)
    title = f"python -m loadtests redis-cluster: {NODES} nodes, {BUCKETS} buckets, n = {ENTRIES * ROUNDS}"
    table = Table("what", "how", title=title, title_justify="left")
    for heading in ("nodes", "messages", "round trips", "µs, median"):
        table.add_column(heading, justify="right")
    for (what, how, _, _), measurement in zip(CASES, measurements, strict=True):
        cells = ["refused: keys of several slots"] + [""] * 3
        if measurement:
            cells = [f"{figure:.3g}" for figure in measurement]
        table.add_row(what, how, *cells)
    Console(width=150).print(table)
    return 0


def measure(
    single: Any, cluster: Any, *, entries: int = ENTRIES, rounds: int = ROUNDS
) -> list[Measurement | None]:
    """Do each operation of CASES for each entry, in turns; return them in that order."""
    samples: list[list[Measurement]] = [[] for _ in CASES]
    for _, (place, case) in itertools.product(range(rounds), enumerate(CASES)):
        _, how, layout, operation = case
        client = single if how.startswith("one node") else cluster
        for number in range(entries):
            names = layout(number)
            for name in _keys(operation, names):
                client.set(name, _VALUE if name == names.entry else b"12345678")
            if sample := _sample(client, operation, names):
                samples[place].append(sample)
    return [_summary(rows) if rows else None for rows in samples]


def _summary(rows: Sequence[Measurement]) -> Measurement:
    """Return the means of what is counted, and the median of the time."""
    nodes, messages, round_trips, microseconds = zip(*rows, strict=True)
    return Measurement(
        statistics.fmean(nodes),
        statistics.fmean(messages),
        statistics.fmean(round_trips),
        statistics.median(microseconds),
    )


def _sample(client: Any, operation: Operation, names: Names) -> Measurement | None:
    messages, round_trips = Counted.messages, Counted.round_trips
    began = time.perf_counter()
    try:
        operation(client, names)
    except RedisClusterException:
        return None
    microseconds = 1e6 * (time.perf_counter() - began)
    nodes = 1
    if isinstance(client, RedisCluster):
        place: Callable[[str], Any] = client.get_node_from_key
        nodes = len({place(key).name for key in _keys(operation, names)})
    return Measurement(
        nodes, Counted.messages - messages, Counted.round_trips - round_trips, microseconds
    )


def _keys(operation: Operation, names: Names) -> tuple[str, ...]:
    if operation in (look_by_mget, look_by_pipeline):
        return names.entry, names.own_stamp, names.shared_stamp
    return names.cleared if operation is clear_by_pipeline else names.written


@contextmanager
def clients() -> Iterator[tuple[Any, Any]]:
    """Start one node, and a cluster of three; yield a client of each; stop them. Raises StackError."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        ports = [_start(folder / str(number), number > 0, cleanup) for number in range(NODES + 1)]
        pools = [redis.ConnectionPool(connection_class=Counted, port=port) for port in ports]
        single, *nodes = [redis.Redis.from_pool(pool) for pool in pools]
        for client in (single, *nodes):
            cleanup.callback(client.close)
        _join(nodes, ports[1:])
        url = f"redis://127.0.0.1:{ports[1]}"
        cluster = RedisCluster.from_url(url, connection_class=Counted)
        cleanup.callback(cluster.close)
        yield single, cluster


def _start(folder: Path, is_cluster: bool, cleanup: ExitStack) -> int:
    folder.mkdir()
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    if is_cluster:
        options += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    server = subprocess.Popen(
        [Redis(folder, port, {}).binary().path, *options],
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    cleanup.callback(server.wait)
    cleanup.callback(server.terminate)

    def answers() -> bool:
        try:
            with redis.Redis(port=port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    if not wait_until(answers, _START_SECONDS):
        raise StackError(f"valkey-server does not answer on port {port}")
    return port


def _join(nodes: Sequence[Any], ports: Sequence[int]) -> None:
    """Give each node a third of the slots, and have them meet."""
    for number, node in enumerate(nodes):
        first, end = (SLOTS * (number + more) // NODES for more in (0, 1))
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    bus_ports = [int(node.config_get("cluster-port")["cluster-port"]) for node in nodes]
    for port, bus_port in zip(ports[1:], bus_ports[1:], strict=True):
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus_port)

    def is_formed() -> bool:
        return all(
            b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
            for info in (_info(node) for node in nodes)
        )

    if not wait_until(is_formed, _START_SECONDS):
        raise StackError("the cluster did not form")


def _info(node: Any) -> bytes:
    reply = node.execute_command("CLUSTER INFO")
    if isinstance(reply, dict):
        return " ".join(f"{name}:{value}" for name, value in reply.items()).encode()
    return bytes(reply)
