"""python -m loadtests synchronous-replication: what a write costs that waits for PostgreSQL's standby."""

import argparse
import statistics
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from config.stack.cluster import Cluster
from config.stack.process import StackError, wait_until
from loadtests.generators.http_load import Call, Sample, closed_loop, create_note, json_call
from loadtests.stats import percentile, ratio_of_medians

ROUNDS: Final = 6
SECONDS: Final = 2.0  # of each kind of write in each arm of a round
CONNECTIONS: Final = 4
USER: Final = "synchronous"
_NOTES: Final = 16
_WAIT_SECONDS: Final = 60.0
ARMS: Final = {"on the primary alone": "local", "on the standby, too": "on"}  # synchronous_commit
Rounds = dict[tuple[str, str], list[list[Sample]]]  # by write and arm


def run(options: argparse.Namespace) -> int:
    """Start the cluster, measure in interleaved rounds, print; return 0, or 1 where a write failed."""
    cluster = Cluster("drills", sites=2)
    try:
        cluster.up()
        rounds = measure(cluster)
    finally:
        cluster.down()
    Console(width=140).print(as_table(rounds))
    return int(any(_failed(samples) for samples in rounds.values()))


def measure(cluster: Cluster) -> Rounds:
    """Write notes through the balancer, in turns without and with a wait for the standby. Raises StackError."""
    body = {"title": "Replaced", "content": "x" * 400}
    notes = [create_note(cluster.url, USER) for _ in range(_NOTES)]
    writes = {
        "POST": [json_call(USER, "/api/v1/notes", body)],
        "PUT": [json_call(USER, f"/api/v1/notes/{note}", body, "PUT") for note in notes],
    }
    rounds: Rounds = {(write, arm): [] for write in writes for arm in ARMS}
    url = cluster.operator_urls()["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        if not wait_until(lambda: _has_synchronous_standby(connection), _WAIT_SECONDS):
            raise StackError("PostgreSQL has no synchronous standby")
        try:
            for number in range(ROUNDS):
                for arm in list(ARMS)[:: 1 if number % 2 else -1]:
                    _set(connection, ARMS[arm])
                    for write, calls in writes.items():
                        rounds[write, arm].append(_load(cluster.url, calls))
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_commit")
            connection.execute("SELECT pg_reload_conf()")
    return rounds


def _load(url: str, calls: Sequence[Call]) -> list[Sample]:
    return closed_loop(url, calls, connections=CONNECTIONS, seconds=SECONDS)


def _set(connection: psycopg.Connection, value: str) -> None:
    """Have every session's commits wait so; each sees it before its next statement."""
    connection.execute(
        sql.SQL("ALTER SYSTEM SET synchronous_commit = {}").format(sql.Literal(value))
    )
    connection.execute("SELECT pg_reload_conf()")
    if not wait_until(
        lambda: connection.execute("SHOW synchronous_commit").fetchone() == (value,), _WAIT_SECONDS
    ):
        raise StackError("PostgreSQL does not reload its configuration")


def _has_synchronous_standby(connection: psycopg.Connection) -> bool:
    query = "SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
    return connection.execute(query).fetchone() is not None


def as_table(rounds: Rounds) -> Table:
    """Return latency and requests/s of each write and arm, with the ratio over the rounds."""
    table = Table(
        *("write", "acknowledged when it is", "n", "p50 ms", "p99 ms", "requests/s"),
        *("p50, ratio", "requests/s, ratio", "failed"),
        title=f"python -m loadtests synchronous-replication: {CONNECTIONS} connections, {ROUNDS} rounds",
        title_justify="left",
    )
    (alone, _) = ARMS
    for (write, arm), samples in rounds.items():
        latencies = [sample.latency_ms for one in samples for sample in one]
        base = rounds[write, alone]
        table.add_row(
            write,
            arm,
            str(len(latencies)),
            *(f"{percentile(latencies, share):.1f}" for share in (0.5, 0.99)),
            f"{len(latencies) / ROUNDS / SECONDS:.0f}",
            ratio_of_medians(_medians(samples), _medians(base)).text,
            ratio_of_medians(
                [float(len(one)) for one in samples], [float(len(one)) for one in base]
            ).text,
            str(_failed(samples)),
        )
    return table


def _medians(samples: list[list[Sample]]) -> list[float]:
    return [statistics.median(sample.latency_ms for sample in one) for one in samples]


def _failed(samples: list[list[Sample]]) -> int:
    return sum(not 200 <= sample.status < 300 for one in samples for sample in one)
