"""What should happen to a site whose pool is too small, each with its threshold and its test."""

import json
import statistics
from collections.abc import Sequence
from typing import Final

from loadtests.experiments.pool_exhaustion.method import CLIENTS, LARGE, SMALL, Observations
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Expectations, Outcome, Verdict

FAILING: Final = 0.01  # of the requests: more than that is "requests time out"
UNHARMED: Final = 0.05  # of the requests may fail where none should, on a busy machine
DRAMATIC: Final = 3.0  # times the latency; 20 / 5 = 4 where the pool is what is short
HALF_AS_PREDICTED: Final = 2.0  # times the latency, with 4 predicted
SAME_RATE: Final = 2.0  # times the requests a second; a smaller difference does not matter
WAITING: Final = 0.8  # of the clients that are not served are seen waiting
OTHERS: Final = 5  # connections besides the pool's: two listeners, and the readers of the metrics

_SEED_LOAD: Final = ("seed's load, pool of 5", "seed's load, pool of 20")
_SWEEP: Final = ("sweep, pool of 5", "sweep, pool of 20")
EXPECTATIONS: Final = Expectations[Observations]()


@EXPECTATIONS.declare(
    "With a pool of 5, 1000 requests at 50 at a time start to time out.",
    line=1808,
    threshold=f"more than {FAILING:.0%} of the requests for the uncached list fail: confirmed",
    declared=Outcome.REFUTED,
    because="A list holds its connection for a few milliseconds, so 45 requests that wait for 5 "
    "connections wait nine times that. It becomes true if connections are held for longer than the "
    "acquire timeout x pool / (clients - pool): 222 ms with 2 s, 5 and 50.",
    timed=True,
)
def requests_time_out(observations: Observations) -> Verdict:
    samples = [sample for turn in observations.of_pool(SMALL) for sample in turn.samples]
    failed = len(_failed(samples))
    slowest = max(sample.latency_ms for sample in samples)
    observed = f"{failed} of {len(samples)} failed; the slowest took {slowest:.0f} ms"
    return Verdict(failed > FAILING * len(samples), observed, ["seed's load, pool of 5"])


@EXPECTATIONS.declare(
    "A request that waits too long gets a connection timeout as an error.",
    line=1809,
    threshold="in the overload each failure is a 503 with Retry-After that names postgres, and "
    "there are some",
)
def connection_timeout(observations: Observations) -> Verdict:
    failed = _failed(observations.overload.samples)
    proper = [sample for sample in failed if is_timeout(sample)]
    observed = f"{len(proper)} of {len(failed)} failures are a 503 with Retry-After of postgres"
    if failed:
        observed += (
            f", after {statistics.median(sample.latency_ms for sample in failed):.0f} ms (p50)"
        )
    return Verdict(bool(failed) and len(proper) == len(failed), observed, ["overload, failures"])


@EXPECTATIONS.declare(
    "The database rejects connections.",
    line=1810,
    threshold="PostgreSQL's log has a refused connection under the seed's load and the overload",
    declared=Outcome.REFUTED,
    because="A small pool opens few connections; that is its purpose. The server refuses "
    "if workers x pool and the connections of others together exceed its max_connections.",
)
def database_rejects(observations: Observations) -> Verdict:
    most = max(reading.server_connections for reading in observations.overload.readings)
    observed = f"{observations.refused} refused; at most {most} connections open in the overload"
    return Verdict(observations.refused > 0, observed, ["overload, connections of the server"])


@EXPECTATIONS.declare(
    "The API's response time increases dramatically.",
    line=1811,
    threshold=f"p50 of the seed's load, pool of 5 against 20: interval above {DRAMATIC:g} "
    "confirms, below it refutes",
    declared=Outcome.REFUTED,
    because="The processors are the bottleneck with either pool: a request with a connection waits "
    "for them, and a queue in front of the pool only moves that wait.",
    timed=True,
)
def latency_jumps(observations: Observations) -> Verdict:
    ratio = observations.latency_ratio()
    small, large = (
        statistics.median(turn.p50_ms for turn in observations.of_pool(pool))
        for pool in (SMALL, LARGE)
    )
    observed = (
        f"p50 {small:.0f} ms against {large:.0f} ms: {ratio.text}, {len(observations.of_pool(SMALL))} "
        f"rounds of {len(observations.rounds[0].samples)} requests each"
    )
    return Verdict(ratio.is_above(DRAMATIC), observed, _SEED_LOAD)


@EXPECTATIONS.declare(
    "If connections are held for long, the latency is clients / pool times the hold.",
    threshold=f"p50 with 50 ms held, pool of 5 against 20: {HALF_AS_PREDICTED:g} times or more, "
    "with 4 predicted",
    timed=True,
)
def latency_by_hold(observations: Observations) -> Verdict:
    small, large = (
        statistics.median(next(entry for entry in observations.pools if entry.pool == pool).hold_ms)
        for pool in (SMALL, LARGE)
    )
    observed = f"p50 {small:.0f} ms against {large:.0f} ms: {small / large:.3g} x"
    return Verdict(small / large >= HALF_AS_PREDICTED, observed, ["50 ms held, p50 by pool"])


@EXPECTATIONS.declare(
    "Requests begin to fail at the predicted hold, and as many of them as predicted.",
    threshold=f"up to half the predicted hold at most {UNHARMED:.0%} fail, from twice of it on at "
    "least half the predicted part, and there are points on both sides; for the pool of 5",
    timed=True,
)
def break_point(observations: Observations) -> Verdict:
    breaks_at = observations.break_point_ms(SMALL)
    swept = observations.swept(SMALL)
    below = [run for run in swept if run.hold_ms <= breaks_at / 2]
    above = [run for run in swept if run.hold_ms >= breaks_at * 2]
    off = max(
        observations.holds, key=lambda run: abs(run.failure_ratio - observations.predicted(run))
    )
    points = 100 * abs(off.failure_ratio - observations.predicted(off))
    observed = (
        f"predicted from {breaks_at:.0f} ms on (timeout {observations.acquire_ms} ms); "
        + "; ".join(
            f"{run.hold_ms} ms: {run.failure_ratio:.0%} (predicted {observations.predicted(run):.0%})"
            for run in swept
        )
        + f"; at most {points:.0f} points off ({off.hold_ms} ms, pool of {off.pool})"
    )
    if not below or not above:
        return Verdict(None, observed, _SWEEP)
    holds = all(run.failure_ratio <= UNHARMED for run in below) and all(
        run.failure_ratio >= observations.predicted(run) / 2 for run in above
    )
    return Verdict(holds, observed, _SWEEP)


@EXPECTATIONS.declare(
    "The pool's metrics show it: all connections active, none idle, the other requests waiting.",
    line=1815,
    threshold=f"a reading of the overload with 5 active, 0 idle and {WAITING:.0%} of 45 waiting",
    timed=True,
)
def pool_metrics(observations: Observations) -> Verdict:
    readings = observations.overload.readings
    waiting = CLIENTS - SMALL
    full = [
        reading
        for reading in readings
        if reading.active == SMALL and reading.idle == 0 and reading.waiting >= WAITING * waiting
    ]
    most = max(reading.waiting for reading in readings)
    observed = f"{len(full)} of {len(readings)} readings; at most {most} waiting"
    return Verdict(bool(full), observed, ["overload, waiting", "overload, active"])


@EXPECTATIONS.declare(
    "The failure rate rises with the time for which connections are held.",
    line=1816,
    threshold="with the pool of 5, the share that fails is at least 25 points higher at the longest "
    "hold than at the shortest",
    timed=True,
)
def failure_rate(observations: Observations) -> Verdict:
    swept = observations.swept(SMALL)
    shortest, longest = swept[0], swept[-1]
    observed = (
        f"{shortest.failure_ratio:.0%} at {shortest.hold_ms} ms, {longest.failure_ratio:.0%} at "
        f"{longest.hold_ms} ms (n={len(shortest.samples)}, {len(longest.samples)})"
    )
    return Verdict(longest.failure_ratio - shortest.failure_ratio >= 0.25, observed, _SWEEP)


@EXPECTATIONS.declare(
    "The database's connections stay at the pool's size, however many clients there are.",
    line=1817,
    threshold=f"in the overload never more than the pool's 5 and {OTHERS} others",
)
def connection_count(observations: Observations) -> Verdict:
    most = max(reading.server_connections for reading in observations.overload.readings)
    observed = f"at most {most} for {CLIENTS} clients, pool of {SMALL}"
    return Verdict(most <= SMALL + OTHERS, observed, ["overload, connections of the server"])


@EXPECTATIONS.declare(
    "The errors in the metrics increase by as many as the clients see.",
    line=1818,
    threshold="the count of exhausted waits increases by the number of failures, and by at most a "
    "tenth and 10 more (background threads use connections, too)",
)
def errors_counted(observations: Observations) -> Verdict:
    readings, failures = observations.overload.readings, len(_failed(observations.overload.samples))
    counted = readings[-1].exhausted - readings[0].exhausted
    observed = f"{counted} counted for {failures} failures that clients saw"
    return Verdict(
        failures <= counted <= failures * 1.1 + 10, observed, ["overload, exhausted so far"]
    )


@EXPECTATIONS.declare(
    "A pool of 20 has room for the load that the pool of 5 fails under.",
    line=1824,
    threshold=f"of the sweep's holds, those that fail for more than a quarter with 5 and should "
    f"not fail with 20: there is one, and at most {UNHARMED:.0%} fail with 20",
    timed=True,
)
def larger_pool_recovers(observations: Observations) -> Verdict:
    breaks_at = observations.break_point_ms(LARGE)
    pairs = [
        (small, large)
        for small, large in zip(observations.swept(SMALL), observations.swept(LARGE), strict=True)
        if small.failure_ratio > 0.25 and large.hold_ms <= breaks_at * 0.7
    ]
    observed = "; ".join(
        f"{small.hold_ms} ms: {small.failure_ratio:.0%} against {large.failure_ratio:.0%}"
        for small, large in pairs
    )
    holds = bool(pairs) and all(pair.failure_ratio <= UNHARMED for _, pair in pairs)
    return Verdict(holds, observed or "no hold that only the small pool fails under", _SWEEP)


@EXPECTATIONS.declare(
    "When the load ends, the site recovers at once, without a restart.",
    threshold="the 10 requests right after the overload get a 200, and none is waiting then",
)
def recovers_alone(observations: Observations) -> Verdict:
    after = observations.overload.after
    well = len(after) - len(_failed(after))
    waiting = observations.overload.readings[-1].waiting
    observed = f"{well} of {len(after)} answered 200, {waiting} waiting at the end"
    return Verdict(well == len(after) and waiting == 0, observed, ["overload, right behind it"])


@EXPECTATIONS.declare(
    "For short queries the formula's pool (2 cores: 5) achieves as much as one of 20.",
    line=1831,
    threshold=f"requests a second, 20 against 5: interval below {SAME_RATE:g} confirms, above it "
    "refutes",
    timed=True,
)
def formula(observations: Observations) -> Verdict:
    ratio = observations.rate_ratio()
    small, large = (
        statistics.median(turn.per_second for turn in observations.of_pool(pool))
        for pool in (SMALL, LARGE)
    )
    is_more = ratio.is_above(SAME_RATE)
    observed = f"{large:.0f} a second with {LARGE}, {small:.0f} with {SMALL}: {ratio.text}"
    return Verdict(
        None if is_more is None else not is_more, observed, ["seed's load, requests a second"]
    )


@EXPECTATIONS.declare(
    "Leaked connections take the site down although the database and the load are normal.",
    line=1833,
    threshold="while 5 of 5 are held, every uncached request fails; afterwards none does",
)
def leaks(observations: Observations) -> Verdict:
    during, after = _failed(observations.leak.during), _failed(observations.leak.after)
    observed = (
        f"{len(during)} of {len(observations.leak.during)} failed with {SMALL} of {SMALL} held; "
        f"{len(after)} of {len(observations.leak.after)} afterwards"
    )
    return Verdict(
        len(during) == len(observations.leak.during) and not after, observed, ["leak, during"]
    )


@EXPECTATIONS.declare(
    "An exhausted pool does not count as an outage, and cached reads continue.",
    threshold="no reading has the breaker open, every cached read is answered 200",
)
def not_an_outage(observations: Observations) -> Verdict:
    readings = [*observations.overload.readings, *observations.leak.readings]
    opened = sum(reading.breaker_open for reading in readings)
    unread = sum(reading.cached_read != 200 for reading in readings)
    observed = f"breaker open in {opened} of {len(readings)} readings; {unread} cached reads failed"
    return Verdict(opened == unread == 0, observed, ["overload, waiting"])


@EXPECTATIONS.declare(
    "If the server has no connection left it refuses, and the pool continues with those it has.",
    threshold=f"PostgreSQL refuses, at most {UNHARMED:.0%} of the requests fail, the breaker stays "
    "closed",
)
def refused_beyond_max(observations: Observations) -> Verdict:
    full = observations.full
    failed = len(_failed(full.samples))
    observed = (
        f"others took the last {full.other_connections}; {full.refused} refused while the pool opened "
        f"{LARGE}; {failed} of {len(full.samples)} requests failed, p50 "
        f"{statistics.median(sample.latency_ms for sample in full.samples):.0f} ms"
    )
    holds = (
        full.refused > 0
        and failed <= UNHARMED * len(full.samples)
        and not full.reading.breaker_open
    )
    return Verdict(holds, observed, ["server full"])


def is_timeout(sample: Sample) -> bool:
    """Return whether an answer says properly that no connection got free in time."""
    if sample.status != 503 or not sample.retry_after:
        return False
    problem = json.loads(sample.body)
    return bool(problem["status"] == 503 and problem.get("store") == "postgres")


def _failed(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.status != 200]
