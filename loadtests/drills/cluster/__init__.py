"""Replicated stores, several sites and a balancer: what clients see while one node after the other fails."""

from typing import Final

from loadtests.drills.cluster import charts
from loadtests.drills.cluster.expectations import EXPECTATIONS
from loadtests.drills.cluster.method import observe
from loadtests.lab.experiment import Experiment

EXPERIMENT: Final = Experiment(
    name="cluster",
    title="Replicated stores and several sites",
    question="What do clients see when any one node fails?",
    lines=(2418, 2470),
    procedure=(
        "Start three etcd, two PostgreSQL under Patroni, two Valkey with three Sentinels, three "
        "MongoDB, the sites and HAProxy, all on this machine.",
        "Write three notes and two profiles, and read them, all the time, through HAProxy. Each read is held "
        "to every write that was acknowledged before it began.",
        "Let one node fail; wait until a write is acknowledged again; bring the node back.",
        "Read every key on every site, by the cache and past it: no acknowledged write may be gone.",
        "With nothing failing, load 1, 2 and 4 sites in turn as fast as they answer, and read from /proc which "
        "part uses the processors.",
    ),
    control="the seconds before each fault",
    treatment="the fault, and the seconds after it",
    method=observe,  # type: ignore[arg-type]  # a lab of its own: a cluster
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Reads that are cached do not notice that a store is away.",
        "Synchronous replication is what makes an acknowledged write survive a host; it costs a round trip.",
        "How long writes stop is set by how soon the others may be sure that the primary is gone.",
        "A graceful stop is told to the balancer first: readiness fails, and only then the process ends.",
    ),
)
