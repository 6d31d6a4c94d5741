"""
python -m loadtests bench: what requests cost, as ratios in one run.

Throughput is measured in a closed loop, which sends as fast as it gets responses. Latency is measured
in an open loop at a rate well below that, from the moment a request was due: a client that waits for
each response before it sends again would not see a stall (coordinated omission).
"""

import itertools
import random
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import track

from loadtests.bench import scenarios
from loadtests.bench.scenarios import Arm, FixedCount
from loadtests.generators.http_load import (
    Call,
    OpenLoop,
    Sample,
    UnexpectedResponse,
    closed_loop,
    create_note,
    fixed_count,
    send_once,
)
from loadtests.stats import Ratio, percentile, ratio_of_medians
from loadtests.testbed.site import Site

CONNECTIONS: Final = 8  # of the closed loop
_T = TypeVar("_T")


@dataclass(frozen=True)
class Plan:
    """How much is measured. seconds: for each arm in each of the two loops, over all rounds."""

    seconds: float
    rounds: int
    rate: float  # requests a second of the open loop
    seed: int  # of the arrivals, and of the order in which arms take their turns
    divisor: int = 1  # of the counts of the fixed-count runs


@dataclass(frozen=True)
class Turn:
    """What one arm did in one round."""

    closed: list[Sample]
    opened: list[Sample]
    seconds: float  # of the closed loop

    @property
    def requests_per_second(self) -> float:
        """The throughput in the closed loop."""
        return len(self.closed) / self.seconds

    @property
    def p50_ms(self) -> float:
        """The median latency in the open loop."""
        return statistics.median(sample.latency_ms for sample in self.opened)

    @property
    def errors(self) -> int:
        """Requests without an answer, or with a 500 or 503."""
        return _errors([*self.closed, *self.opened])


@dataclass(frozen=True)
class Figure:
    """One hot path over all rounds."""

    arm: str
    baseline: str
    requests: int  # in the open loop
    p50_ms: float  # the median of the rounds' medians, which the ratio compares
    p95_ms: float
    p99_ms: float
    p50_ratio: Ratio  # to the baseline's, by rounds
    requests_per_second: float  # in the closed loop; the median round
    requests_per_second_ratio: Ratio
    errors: int
    rounds_p50_ms: list[float]
    rounds_requests_per_second: list[float]


@dataclass(frozen=True)
class CountFigure:
    """One fixed-count run over all rounds."""

    run: str
    baseline: str
    requests: int
    concurrency: int
    milliseconds: float  # for all the requests; the median round
    requests_per_second: float
    time_ratio: Ratio  # to the baseline's, by rounds
    errors: int
    rounds_milliseconds: list[float]


@dataclass(frozen=True)
class Figures:
    """What a bench found."""

    paths: list[Figure]
    counts: list[CountFigure]


def bench(site: Site, plan: Plan) -> Figures:
    """
    Measure every arm in every round, one after the other, in an order drawn for each round.

    Raises UnexpectedResponse where an arm is not what its name says, such as a hit that missed.
    """
    arms = scenarios.arms(site)
    runs = scenarios.fixed_counts(site, divisor=plan.divisor)
    settle(site, arms)
    turns: dict[str, list[Turn]] = {arm.name: [] for arm in arms}
    counted: dict[str, list[list[Sample]]] = {run.name: [] for run in runs}
    order = random.Random(plan.seed)  # noqa: S311  # an order is no secret
    everything: list[Arm | FixedCount] = [*arms, *runs]
    steps = [
        (number, step)
        for number in range(plan.rounds)
        for step in order.sample(everything, len(everything))
    ]
    for number, step in with_progress(steps):
        if isinstance(step, Arm):
            turns[step.name].append(measure(site, step, plan, number))
        else:
            counted[step.name].append(_count(site, step))
    return Figures(
        [_figure(arm, turns) for arm in arms], [_count_figure(run, counted) for run in runs]
    )


def settle(site: Site, arms: Sequence[Arm]) -> None:
    """Wait until the arms that read are what their names say."""
    scenarios.warm(
        site, [(call, arm.cache) for arm in arms for call in arm.calls if call.method == "GET"]
    )


def measure(site: Site, arm: Arm, plan: Plan, number: int) -> Turn:
    """Give one arm its turn in round number: the closed loop, then the open one."""
    seconds = plan.seconds / plan.rounds
    _prime(site, arm.calls[0])
    closed = closed_loop(site.url, arm.calls, connections=CONNECTIONS, seconds=seconds)
    loop = OpenLoop(site.url, per_second=plan.rate, seed=plan.seed + number, keep_alive=True)
    loop.run(itertools.cycle(arm.calls), seconds=seconds)
    opened = loop.finish()
    scenarios.check(arm.name, [*closed, *opened], status=arm.status, cache=arm.cache)
    return Turn(closed, opened, seconds)


def with_progress(steps: Sequence[_T]) -> Iterable[_T]:
    """Yield the steps, with a progress bar where a terminal looks on."""
    console = Console(file=sys.stderr)
    return track(
        steps, "measuring", console=console, disable=not console.is_terminal, transient=True
    )


def _prime(site: Site, call: Call) -> None:
    """Read once what is to be read from the cache: a lifetime may have run out since the last."""
    if call.method == "GET":
        send_once(site.url, call)


def _count(site: Site, run: FixedCount) -> list[Sample]:
    if run.call is None:
        call = Call("", f"/api/v1/notes/{create_note(site.url, scenarios.USER)}")
    else:
        call = run.call
        _prime(site, call)
    samples = fixed_count(site.url, call, requests=run.requests, concurrency=run.concurrency)
    scenarios.check(run.name, samples, status=200, cache=run.cache)
    if run.call is None and not any(sample.cache == "fwd=uri-miss; stored" for sample in samples):
        raise UnexpectedResponse(f"{run.name}: no answer was a miss")
    return samples


def _figure(arm: Arm, turns: dict[str, list[Turn]]) -> Figure:
    own, base = turns[arm.name], turns[arm.baseline]
    latencies = [sample.latency_ms for turn in own for sample in turn.opened]
    medians = [turn.p50_ms for turn in own]
    rates = [turn.requests_per_second for turn in own]
    return Figure(
        arm.name,
        arm.baseline,
        len(latencies),
        statistics.median(medians),
        percentile(latencies, 0.95),
        percentile(latencies, 0.99),
        ratio_of_medians(medians, [turn.p50_ms for turn in base]),
        statistics.median(rates),
        ratio_of_medians(rates, [turn.requests_per_second for turn in base]),
        sum(turn.errors for turn in own),
        medians,
        rates,
    )


def _count_figure(run: FixedCount, counted: dict[str, list[list[Sample]]]) -> CountFigure:
    own = [_milliseconds(samples) for samples in counted[run.name]]
    base = [_milliseconds(samples) for samples in counted[run.baseline]]
    median = statistics.median(own)
    return CountFigure(
        run.name,
        run.baseline,
        run.requests,
        run.concurrency,
        median,
        run.requests / median * 1000,
        ratio_of_medians(own, base),
        sum(_errors(samples) for samples in counted[run.name]),
        own,
    )


def _milliseconds(samples: Sequence[Sample]) -> float:
    """Return how long a run took: from its start to its last answer."""
    return max(sample.at * 1000 + sample.latency_ms for sample in samples)


def _errors(samples: Sequence[Sample]) -> int:
    return sum(sample.status in (0, 500, 503) for sample in samples)
