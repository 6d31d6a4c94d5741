"""What is promised of each drill, with its threshold and its test."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Final

from loadtests.drills.cluster.hammer import Operation, longest_gap_s
from loadtests.drills.cluster.instances import IDLE, OTHERS, Scale
from loadtests.drills.cluster.method import DrillRun, Observations
from loadtests.drills.cluster.nodes import SITES
from loadtests.lab.experiment import Expectations, Outcome, Verdict

PROCESS_SECONDS: Final = 5.0
HOST_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 3.0
PARTITION_SECONDS: Final = 5.0  # a deadline for each of two stores, of 2.5 and 2 s
GAIN: Final = 1.15  # of requests/s, by more instances
SAME_TIME: Final = 1.3  # of the processor time per request
MEMORY_MIB: Final = 4096.0
EXPECTATIONS: Final = Expectations[Observations]()


def _evidence(name: str) -> list[str]:
    return [f"{name}: latency of reads", f"{name}: latency of writes"]


def throughput_of(instances: int) -> str:
    """Return the name of a series."""
    return f"{instances} instances: throughput"


def processor_time_of(instances: int) -> str:
    """Return the name of a series."""
    return f"{instances} instances: processor time of the instances per request"


def memory_of(instances: int) -> str:
    """Return the name of a series."""
    return f"{instances} instances: memory of the topology"


_NOT_RUN: Final = Verdict(None, "not run", [])


def _none(
    observations: Observations,
    name: str,
    excused: Callable[[DrillRun, Operation], bool] = lambda run, operation: False,
) -> Verdict:
    run = observations.runs.get(name)
    if run is None:
        return _NOT_RUN
    failed = [operation for operation in run.failed if not excused(run, operation)]
    statuses = sorted({one.status for one in failed})
    shown = f" ({', '.join(map(str, statuses))})" if failed else ""
    return Verdict(
        not failed and not run.stale and not run.lost,
        f"{len(failed)} failed{shown}, {run.stale} stale, {run.lost} lost, of {len(run.during)} requests",
        _evidence(name),
    )


def _acknowledged_again(
    observations: Observations, name: str, kind: str, limit_s: float
) -> Verdict:
    run = observations.runs.get(name)
    if run is None:
        return _NOT_RUN
    gap = longest_gap_s(run.operations, lambda one: one.is_write and one.kind == kind)
    return Verdict(
        gap <= limit_s and not run.lost and not run.stale,
        f"{gap:.1f} s without an acknowledged write, {run.lost} lost, {run.stale} stale",
        _evidence(name),
    )


@EXPECTATIONS.declare(
    "An instance is killed: only what it was answering fails.",
    threshold="no request fails but those under way when it died; none stale, none lost",
)
def site_killed(observations: Observations) -> Verdict:
    return _none(observations, "site-killed", lambda run, one: one.began_s < run.failed_s)


@EXPECTATIONS.declare(
    "An instance is stopped: nothing fails.", threshold="0 failed, 0 stale, 0 lost"
)
def site_stopped(observations: Observations) -> Verdict:
    return _none(observations, "site-stopped")


@EXPECTATIONS.declare(
    "Every instance is restarted, one after the other: nothing fails.",
    threshold="0 failed, 0 stale, 0 lost",
)
def rolling_restart(observations: Observations) -> Verdict:
    return _none(observations, "rolling-restart")


@EXPECTATIONS.declare(
    "The primary of Redis is killed: nothing fails.", threshold="0 failed, 0 stale, 0 lost"
)
def redis_killed(observations: Observations) -> Verdict:
    return _none(observations, "redis-killed")


@EXPECTATIONS.declare(
    "A replica of Redis that lacks the last invalidations is promoted: nothing is stale.",
    threshold="0 failed, 0 stale, 0 lost",
)
def lagging_redis_promoted(observations: Observations) -> Verdict:
    return _none(observations, "lagging-redis-promoted")


@EXPECTATIONS.declare(
    "The primary of MongoDB is killed: profiles are written again soon, and none is lost.",
    threshold=f"at most {PROCESS_SECONDS:g} s without an acknowledged write of a profile; none lost, none stale",
)
def mongodb_killed(observations: Observations) -> Verdict:
    return _acknowledged_again(observations, "mongodb-killed", "profile", PROCESS_SECONDS)


@EXPECTATIONS.declare(
    "Through all drills no event is lost or doubled.",
    threshold="activity_reconcile over the drills finds none",
)
def events_kept(observations: Observations) -> Verdict:
    texts = observations.reconciled
    if not texts:
        return _NOT_RUN
    return Verdict(
        all(" 0 lost, 0 doubled" in text for text in texts),
        "; ".join(texts),
        _evidence("mongodb-killed"),
    )


@EXPECTATIONS.declare(
    "PostgreSQL alone dies on the primary: notes are written again soon, and none is lost.",
    threshold=f"at most {PROCESS_SECONDS:g} s without an acknowledged write of a note; none lost, none stale",
)
def postgres_killed(observations: Observations) -> Verdict:
    return _acknowledged_again(observations, "postgres-killed", "note", PROCESS_SECONDS)


@EXPECTATIONS.declare(
    "The whole host of PostgreSQL's primary dies: notes are written again soon, and none is lost.",
    threshold=f"at most {HOST_SECONDS:g} s without an acknowledged write of a note; none lost, none stale",
    declared=Outcome.REFUTED,
    because="a leader that is gone with its host keeps its key for 20 s, the least that Patroni takes; a "
    "shorter one would be home-made",
)
def postgres_host_killed(observations: Observations) -> Verdict:
    return _acknowledged_again(observations, "postgres-host-killed", "note", HOST_SECONDS)


def _correct_or_refused(observations: Observations, name: str) -> Verdict:
    run = observations.runs.get(name)
    if run is None:
        return _NOT_RUN
    wrong = [one for one in run.failed if not one.is_refusal]
    slowest = max((one.seconds for one in run.during), default=0.0)
    return Verdict(
        not wrong and not run.stale and not run.lost and slowest <= PARTITION_SECONDS,
        f"{len(run.failed)} refused of {len(run.during)}, {len(wrong)} failed otherwise "
        f"({', '.join(sorted({str(one.status) for one in wrong})) or 'none'}), the slowest after "
        f"{slowest:.2f} s, {run.stale} stale, {run.lost} lost",
        _evidence(name),
    )


_CORRECT_OR_REFUSED: Final = (
    "every answer, of the balancer and of each instance, is correct or a 503 with Retry-After, within "
    f"{PARTITION_SECONDS:g} s; none stale, none lost"
)


@EXPECTATIONS.declare(
    "An instance is cut off from Redis: it and the others stay correct.",
    threshold=_CORRECT_OR_REFUSED,
)
def site_without_redis(observations: Observations) -> Verdict:
    return _correct_or_refused(observations, "site-without-redis")


@EXPECTATIONS.declare(
    "An instance is cut off from PostgreSQL: it and the others stay correct.",
    threshold=_CORRECT_OR_REFUSED,
)
def site_without_postgres(observations: Observations) -> Verdict:
    return _correct_or_refused(observations, "site-without-postgres")


@EXPECTATIONS.declare(
    "An instance is cut off from MongoDB: it and the others stay correct.",
    threshold=_CORRECT_OR_REFUSED,
)
def site_without_mongodb(observations: Observations) -> Verdict:
    return _correct_or_refused(observations, "site-without-mongodb")


@EXPECTATIONS.declare(
    "An instance is cut off from every store: it and the others stay correct.",
    threshold=_CORRECT_OR_REFUSED,
)
def site_without_stores(observations: Observations) -> Verdict:
    return _correct_or_refused(observations, "site-without-stores")


@EXPECTATIONS.declare(
    "An instance alone stays with the old primary of Redis while the replica is promoted: both sides stay correct.",
    threshold=_CORRECT_OR_REFUSED,
)
def site_with_old_redis(observations: Observations) -> Verdict:
    return _correct_or_refused(observations, "site-with-old-redis")


def _was_copied(run: DrillRun, refused: Operation) -> bool:
    """
    Return whether it is a read of what had been read since the last write of it.

    A write that was refused, or that is under way, counts: it may have been made, and then its copy is gone.
    """
    if refused.is_write:
        return False
    same = [one for one in run.operations if one.path == refused.path]
    writes = [one.ended_s for one in same if one.is_write and one.began_s <= refused.began_s]
    reads = [one for one in same if not one.is_write and one.ok and one.ended_s <= refused.began_s]
    return any(one.began_s >= max(writes, default=0.0) for one in reads)


@EXPECTATIONS.declare(
    "While PostgreSQL has no primary, a write is refused quickly, with Retry-After, and what was read since it "
    "was last written is read on.",
    threshold=f"each failure is a 503 with Retry-After within {ANSWER_SECONDS:g} s, of a write, or of a read of what "
    "was written last, or may have been, and not read since: of that there is no copy",
)
def refused_politely(observations: Observations) -> Verdict:
    names = ("postgres-killed", "postgres-host-killed")
    runs = [observations.runs[name] for name in names if name in observations.runs]
    if not runs:
        return _NOT_RUN
    failed = [one for run in runs for one in run.failed]
    rude = [
        one
        for run in runs
        for one in run.failed
        if not one.is_refusal or one.seconds > ANSWER_SECONDS or _was_copied(run, one)
    ]
    slowest = max((one.seconds for one in failed), default=0.0)
    return Verdict(
        bool(failed) and not rude,
        f"{len(failed)} refused, the slowest after {slowest:.2f} s, {len(rude)} otherwise "
        f"({', '.join(sorted({f'{one.status}' for one in rude})) or 'none'})",
        [*_evidence("postgres-killed"), *_evidence("postgres-host-killed")],
    )


def _are_alone(scales: Sequence[Scale]) -> bool:
    return all(one.others <= OTHERS for one in scales)


@EXPECTATIONS.declare(
    "More instances serve more requests only as long as processors are idle.",
    threshold=f"where less than {IDLE:.0%} of the machine is idle, more instances serve at most {GAIN:g} times the "
    f"requests/s; inconclusive where it never is, or other programs use more than {OTHERS:.0%}",
)
def processors_bound_instances(observations: Observations) -> Verdict:
    scales = observations.scales
    if not scales:
        return _NOT_RUN
    gains = [
        more.requests_per_second / fewer.requests_per_second
        for fewer, more in itertools.pairwise(scales)
        if fewer.idle < IDLE
    ]
    shown = ", ".join(
        f"{one.instances}: {one.requests_per_second:.0f}/s, {one.idle:.0%} idle, {one.others:.0%} by others"
        for one in scales
    )
    return Verdict(
        max(gains) <= GAIN if gains and _are_alone(scales) else None,
        shown,
        [throughput_of(one.instances) for one in scales],
    )


@EXPECTATIONS.declare(
    "A request takes an instance the same processor time, however many there are.",
    threshold=f"with the most at most {SAME_TIME:g} times that of one; inconclusive where other programs use more "
    f"than {OTHERS:.0%}",
)
def same_time_per_request(observations: Observations) -> Verdict:
    scales = observations.scales
    if not scales:
        return _NOT_RUN
    medians = [statistics.median(one.processor_us(SITES)) for one in scales]
    return Verdict(
        medians[-1] <= SAME_TIME * medians[0] if _are_alone(scales) else None,
        ", ".join(
            f"{one.instances}: {median:.0f} µs" for one, median in zip(scales, medians, strict=True)
        ),
        [processor_time_of(one.instances) for one in scales],
    )


@EXPECTATIONS.declare(
    "Four instances and all stores fit into 4 GiB.",
    threshold=f"less than {MEMORY_MIB:g} MiB, pages that are shared counted once",
)
def memory_of_four(observations: Observations) -> Verdict:
    scales = observations.scales
    if not scales:
        return _NOT_RUN
    return Verdict(
        scales[-1].memory_mib < MEMORY_MIB,
        ", ".join(f"{one.instances}: {one.memory_mib:.0f} MiB" for one in scales),
        [memory_of(one.instances) for one in scales],
    )
