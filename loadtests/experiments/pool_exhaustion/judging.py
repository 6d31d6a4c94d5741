"""From what was observed to the verdict of each expectation; no servers here."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.experiments.pool_exhaustion import expectations as declared
from loadtests.experiments.pool_exhaustion import queueing
from loadtests.experiments.pool_exhaustion.phases import (
    CLIENTS,
    LARGE,
    SMALL,
    AtHold,
    AtSize,
    Full,
    Leak,
    Overload,
    Round,
)
from loadtests.generators.http_load import Sample
from loadtests.lab.experiment import Verdict
from loadtests.stats import Ratio, ratio_of_medians


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that a run has measured. acquire_ms: of the sweep. refused: before the server was full."""

    acquire_ms: int
    rounds: list[Round]
    holds: list[AtHold]
    pools: list[AtSize]
    overload: Overload
    leak: Leak
    full: Full
    refused: int

    def of_pool(self, pool: int) -> list[Round]:
        """Return the rounds of the seed's load with a pool of this size."""
        return [one for one in self.rounds if one.pool == pool]

    def swept(self, pool: int) -> list[AtHold]:
        """Return the sweep of a pool of this size, the shortest hold first."""
        return [one for one in self.holds if one.pool == pool]

    def latency_ratio(self) -> Ratio:
        """Return the seed's latency with the small pool against the large one."""
        small, large = ([one.p50_ms for one in self.of_pool(pool)] for pool in (SMALL, LARGE))
        return ratio_of_medians(small, large)

    def rate_ratio(self) -> Ratio:
        """Return the requests a second with the large pool against the small one."""
        large, small = ([one.per_second for one in self.of_pool(pool)] for pool in (LARGE, SMALL))
        return ratio_of_medians(large, small)

    def break_point_ms(self, pool: int) -> float:
        """Return from which hold on requests should fail, in the sweep."""
        return queueing.break_point_ms(clients=CLIENTS, pool=pool, acquire_ms=self.acquire_ms)

    def predicted(self, at: AtHold) -> float:
        """Return which part of the requests should fail."""
        return queueing.failure_ratio(
            at.hold_ms, clients=CLIENTS, pool=at.pool, acquire_ms=self.acquire_ms
        )

    def utilization(self, pool: int) -> float:
        """Return which part of the pool was in use under the seed's load, by its metrics."""
        readings = [tick.active for one in self.of_pool(pool) for tick in one.ticks]
        return statistics.mean(readings) / pool


def is_timeout(sample: Sample) -> bool:
    """Return whether an answer says properly that no connection got free in time."""
    if sample.status != 503 or not sample.retry_after:
        return False
    problem = json.loads(sample.body)
    return bool(problem["status"] == 503 and problem.get("store") == "postgres")


def _failed(samples: Sequence[Sample]) -> list[Sample]:
    return [one for one in samples if one.status != 200]


def _requests_time_out(seen: Observed) -> Verdict:
    samples = [sample for one in seen.of_pool(SMALL) for sample in one.samples]
    failed = len(_failed(samples))
    slowest = max(one.latency_ms for one in samples)
    observed = f"{failed} of {len(samples)} failed; the slowest took {slowest:.0f} ms"
    return failed > declared.FAILING * len(samples), observed, ["seed's load, pool of 5"]


def _connection_timeout(seen: Observed) -> Verdict:
    failed = _failed(seen.overload.samples)
    proper = [one for one in failed if is_timeout(one)]
    observed = f"{len(proper)} of {len(failed)} failures are a 503 with Retry-After of postgres"
    if failed:
        observed += f", after {statistics.median(one.latency_ms for one in failed):.0f} ms (p50)"
    return bool(failed) and len(proper) == len(failed), observed, ["overload, failures"]


def _database_rejects(seen: Observed) -> Verdict:
    most = max(tick.server_connections for tick in seen.overload.ticks)
    observed = f"{seen.refused} refused; at most {most} connections open in the overload"
    return seen.refused > 0, observed, ["overload, connections of the server"]


def _latency_jumps(seen: Observed) -> Verdict:
    ratio = seen.latency_ratio()
    small, large = (
        statistics.median(one.p50_ms for one in seen.of_pool(pool)) for pool in (SMALL, LARGE)
    )
    observed = (
        f"p50 {small:.0f} ms against {large:.0f} ms: {ratio.text}, {len(seen.of_pool(SMALL))} "
        f"rounds of {len(seen.rounds[0].samples)} requests each"
    )
    return ratio.is_above(declared.DRAMATIC), observed, _SEED_LOAD


def _latency_by_hold(seen: Observed) -> Verdict:
    small, large = (
        statistics.median(next(one for one in seen.pools if one.pool == pool).hold_ms)
        for pool in (SMALL, LARGE)
    )
    observed = f"p50 {small:.0f} ms against {large:.0f} ms: {small / large:.3g} x"
    return small / large >= declared.HALF_AS_PREDICTED, observed, ["50 ms held, p50 by pool"]


def _break_point(seen: Observed) -> Verdict:
    breaks_at = seen.break_point_ms(SMALL)
    swept = seen.swept(SMALL)
    below = [one for one in swept if one.hold_ms <= breaks_at / 2]
    above = [one for one in swept if one.hold_ms >= breaks_at * 2]
    off = max(seen.holds, key=lambda one: abs(one.failure_ratio - seen.predicted(one)))
    points = 100 * abs(off.failure_ratio - seen.predicted(off))
    observed = (
        f"predicted from {breaks_at:.0f} ms on (timeout {seen.acquire_ms} ms); "
        + "; ".join(
            f"{one.hold_ms} ms: {one.failure_ratio:.0%} (predicted {seen.predicted(one):.0%})"
            for one in swept
        )
        + f"; at most {points:.0f} points off ({off.hold_ms} ms, pool of {off.pool})"
    )
    if not below or not above:
        return None, observed, _SWEEP
    holds = all(one.failure_ratio <= declared.UNHARMED for one in below) and all(
        one.failure_ratio >= seen.predicted(one) / 2 for one in above
    )
    return holds, observed, _SWEEP


def _pool_metrics(seen: Observed) -> Verdict:
    ticks = seen.overload.ticks
    waiting = CLIENTS - SMALL
    full = [
        one
        for one in ticks
        if one.active == SMALL and one.idle == 0 and one.waiting >= declared.WAITING * waiting
    ]
    most = max(one.waiting for one in ticks)
    observed = f"{len(full)} of {len(ticks)} readings; at most {most} waiting"
    return bool(full), observed, ["overload, waiting", "overload, active"]


def _failure_rate(seen: Observed) -> Verdict:
    swept = seen.swept(SMALL)
    shortest, longest = swept[0], swept[-1]
    observed = (
        f"{shortest.failure_ratio:.0%} at {shortest.hold_ms} ms, {longest.failure_ratio:.0%} at "
        f"{longest.hold_ms} ms (n={len(shortest.samples)}, {len(longest.samples)})"
    )
    return longest.failure_ratio - shortest.failure_ratio >= 0.25, observed, _SWEEP


def _connection_count(seen: Observed) -> Verdict:
    most = max(tick.server_connections for tick in seen.overload.ticks)
    observed = f"at most {most} for {CLIENTS} clients, pool of {SMALL}"
    return most <= SMALL + declared.OTHERS, observed, ["overload, connections of the server"]


def _errors_counted(seen: Observed) -> Verdict:
    ticks, failures = seen.overload.ticks, len(_failed(seen.overload.samples))
    counted = ticks[-1].exhausted - ticks[0].exhausted
    observed = f"{counted} counted for {failures} failures that clients saw"
    return failures <= counted <= failures * 1.1 + 10, observed, ["overload, exhausted so far"]


def _larger_pool_recovers(seen: Observed) -> Verdict:
    breaks_at = seen.break_point_ms(LARGE)
    pairs = [
        (small, large)
        for small, large in zip(seen.swept(SMALL), seen.swept(LARGE), strict=True)
        if small.failure_ratio > 0.25 and large.hold_ms <= breaks_at * 0.7
    ]
    observed = "; ".join(
        f"{small.hold_ms} ms: {small.failure_ratio:.0%} against {large.failure_ratio:.0%}"
        for small, large in pairs
    )
    holds = bool(pairs) and all(one.failure_ratio <= declared.UNHARMED for _, one in pairs)
    return holds, observed or "no hold that only the small pool fails under", _SWEEP


def _recovers_alone(seen: Observed) -> Verdict:
    after = seen.overload.after
    well = len(after) - len(_failed(after))
    waiting = seen.overload.ticks[-1].waiting
    observed = f"{well} of {len(after)} answered 200, {waiting} waiting at the end"
    return well == len(after) and waiting == 0, observed, ["overload, right behind it"]


def _formula(seen: Observed) -> Verdict:
    ratio = seen.rate_ratio()
    small, large = (
        statistics.median(one.per_second for one in seen.of_pool(pool)) for pool in (SMALL, LARGE)
    )
    is_more = ratio.is_above(declared.SAME_RATE)
    observed = f"{large:.0f} a second with {LARGE}, {small:.0f} with {SMALL}: {ratio.text}"
    return None if is_more is None else not is_more, observed, ["seed's load, requests a second"]


def _leaks(seen: Observed) -> Verdict:
    during, after = _failed(seen.leak.during), _failed(seen.leak.after)
    observed = (
        f"{len(during)} of {len(seen.leak.during)} failed with {SMALL} of {SMALL} held; "
        f"{len(after)} of {len(seen.leak.after)} afterwards"
    )
    return len(during) == len(seen.leak.during) and not after, observed, ["leak, during"]


def _not_an_outage(seen: Observed) -> Verdict:
    ticks = [*seen.overload.ticks, *seen.leak.ticks]
    opened = sum(one.breaker_open for one in ticks)
    unread = sum(one.cached_read != 200 for one in ticks)
    observed = f"breaker open in {opened} of {len(ticks)} readings; {unread} cached reads failed"
    return opened == unread == 0, observed, ["overload, waiting"]


def _refused_beyond_max(seen: Observed) -> Verdict:
    full = seen.full
    failed = len(_failed(full.samples))
    observed = (
        f"others took the last {full.neighbours}; {full.refused} refused while the pool asked for "
        f"{LARGE}; {failed} of {len(full.samples)} requests failed, p50 "
        f"{statistics.median(one.latency_ms for one in full.samples):.0f} ms"
    )
    holds = (
        full.refused > 0
        and failed <= declared.UNHARMED * len(full.samples)
        and not full.tick.breaker_open
    )
    return holds, observed, ["server full"]


_SEED_LOAD: Final = ("seed's load, pool of 5", "seed's load, pool of 20")
_SWEEP: Final = ("sweep, pool of 5", "sweep, pool of 20")
JUDGES: Final[dict[str, Callable[[Observed], Verdict]]] = {
    "requests-time-out": _requests_time_out,
    "connection-timeout": _connection_timeout,
    "database-rejects": _database_rejects,
    "latency-jumps": _latency_jumps,
    "latency-by-hold": _latency_by_hold,
    "break-point": _break_point,
    "pool-metrics": _pool_metrics,
    "failure-rate": _failure_rate,
    "connection-count": _connection_count,
    "errors-counted": _errors_counted,
    "larger-pool-recovers": _larger_pool_recovers,
    "recovers-alone": _recovers_alone,
    "formula": _formula,
    "leaks": _leaks,
    "not-an-outage": _not_an_outage,
    "refused-beyond-max": _refused_beyond_max,
}
