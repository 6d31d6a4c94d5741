"""
python -m loadtests bench: what requests cost, beside the peers and as ratios in one run.

Throughput, latency under saturation and processor time are measured in a closed loop, which sends as
fast as it gets responses. The latency of a site that is not saturated is measured in an open loop at a
rate well below that, from the moment a request was due: a client that waits for each response before
it sends again would not see a stall (coordinated omission).
"""

import itertools
import random
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import psycopg
from rich.console import Console
from rich.progress import track

from loadtests.bench import peers, scenarios
from loadtests.bench.peers import SITE
from loadtests.bench.scenarios import Arm, FixedCount
from loadtests.generators.http_load import (
    Call,
    OpenLoop,
    Sample,
    UnexpectedResponse,
    connected,
    create_note,
    fixed_count,
    send_now,
)
from loadtests.generators.wrk import Load, saturate
from loadtests.stats import Ratio, percentile, ratio_of_medians
from loadtests.testbed.processor import Processor
from loadtests.testbed.site import Site

CONNECTIONS: Final = 32  # of the closed loop
LATER: Final = "later"  # processor time after the closed loop: events on their way to MongoDB
_NUMBERS: Final = 10_000_000  # for the bodies of one turn
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

    load: Load
    processor_us: Mapping[
        str, float
    ]  # per request of the closed loop, by server; LATER in all of them
    opened: list[Sample]  # none of a peer

    @property
    def p50_ms(self) -> float:
        """The median latency in the open loop."""
        return statistics.median(sample.latency_ms for sample in self.opened)

    @property
    def errors(self) -> int:
        """Requests without an answer, with a status of 400 and above, or in the open loop with a 500 or 503."""
        return self.load.errors + _errors(self.opened)


@dataclass(frozen=True)
class Saturation:
    """An arm at one server in the closed loop; each figure is that of the median round."""

    arm: str
    server: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    processor_us: Mapping[str, float]  # per request, by server
    ratio: Ratio  # of the site's requests per second to this server's, by rounds
    errors: int
    rounds_requests_per_second: list[float]


@dataclass(frozen=True)
class Figure:
    """One hot path of the site over all rounds."""

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

    saturations: list[Saturation]
    paths: list[Figure]
    counts: list[CountFigure]

    def saturation(self, arm: str, server: str) -> Saturation:
        """Return the figures of an arm at a server. Raises LookupError if it was not measured there."""
        for saturation in self.saturations:
            if (saturation.arm, saturation.server) == (arm, server):
                return saturation
        raise LookupError(f"{arm} was not measured at {server}")


def bench(site: Site, plan: Plan) -> Figures:
    """
    Measure every arm in every round, one after the other, in an order drawn for each round.

    Raises UnexpectedResponse where an arm is not what its name says, such as a hit that missed.
    """
    arms = scenarios.arms(site)
    runs = scenarios.fixed_counts(site, divisor=plan.divisor)
    settle(site, arms)
    turns: dict[tuple[str, str], list[Turn]] = {
        (arm.name, server): [] for arm in arms for server in (SITE, *arm.peers)
    }
    counted: dict[str, list[list[Sample]]] = {run.name: [] for run in runs}
    order = random.Random(plan.seed)  # noqa: S311  # an order is no secret
    everything: list[tuple[Arm, str] | FixedCount] = [
        *((arm, server) for arm in arms for server in (SITE, *arm.peers)),
        *runs,
    ]
    steps = [
        (number, step)
        for number in range(plan.rounds)
        for step in order.sample(everything, len(everything))
    ]
    with peers.running(site, _recorded(arms)) as servers:
        processors = {name: Processor(server) for name, server in servers.items()}
        for number, step in with_progress(steps):
            if isinstance(step, FixedCount):
                counted[step.name].append(_count(site, step))
            else:
                arm, server = step
                opened = server == SITE
                turn = measure(
                    servers[server], processors[server], arm, plan, number, opened=opened
                )
                turns[arm.name, server].append(turn)
    return Figures(
        [
            _saturation(arm, server, turns)
            for arm in arms
            if arm.peers
            for server in (SITE, *arm.peers)
        ],
        [_figure(arm, turns) for arm in arms],
        [_count_figure(run, counted) for run in runs],
    )


def settle(site: Site, arms: Sequence[Arm]) -> None:
    """Wait until the arms that read are what their names say."""
    scenarios.warm(
        site,
        [
            (call, arm.cache)
            for arm in arms
            if arm.cache
            for call in arm.calls
            if call.method == "GET"
        ],
    )


def measure(
    site: Site, processor: Processor, arm: Arm, plan: Plan, number: int, *, opened: bool = True
) -> Turn:
    """
    Give one arm its turn in round number: the closed loop, and the open one if it is opened.

    Afterwards the notes that it created are deleted, so that the table is as large for each.
    """
    seconds = plan.seconds / plan.rounds
    order = arm.order or range(len(arm.calls))
    _prime(site, arm.calls)
    before = processor.seconds()
    load = saturate(
        site.url,
        arm.calls,
        connections=CONNECTIONS,
        seconds=seconds,
        order=order,
        first=number * _NUMBERS,
    )
    loaded = processor.seconds()
    processor.settle()
    settled = processor.seconds()
    used = {name: loaded[name] - before[name] for name in loaded}
    used[LATER] = sum(settled.values()) - sum(loaded.values())
    microseconds = {name: 1e6 * spent / load.requests for name, spent in used.items()}
    samples: list[Sample] = []
    if opened:
        loop = OpenLoop(site.url, per_second=plan.rate, seed=plan.seed + number, keep_alive=True)
        loop.run(_numbered(arm.calls, order, number), seconds=seconds)
        samples = loop.finish()
        scenarios.check(arm.name, samples, status=arm.status, cache=arm.cache)
    if arm.name == scenarios.CREATED:
        _delete_created(site)
    if load.errors > max(2, load.requests // 100):
        raise UnexpectedResponse(
            f"{arm.name} at {site.url}: {load.errors} of {load.requests} requests failed"
        )
    return Turn(load, microseconds, samples)


def with_progress(steps: Sequence[_T]) -> Iterable[_T]:
    """Yield the steps, with a progress bar where a terminal looks on."""
    console = Console(file=sys.stderr)
    return track(
        steps, "measuring", console=console, disable=not console.is_terminal, transient=True
    )


def _recorded(arms: Sequence[Arm]) -> list[Call]:
    """Return the reads that the bare function answers, each path once."""
    calls = [call for arm in arms if peers.BARE in arm.peers for call in arm.calls]
    return list({call.path: Call("", call.path) for call in calls if call.method == "GET"}.values())


def _prime(site: Site, calls: Sequence[Call]) -> None:
    """Read once what is to be read from the cache: a lifetime may have run out since the last."""
    with connected(site.url) as connection:
        for call in calls:
            if call.method == "GET":
                send_now(connection, call)


def _numbered(calls: Sequence[Call], order: Sequence[int], number: int) -> Iterator[Call]:
    """Yield the calls in their order without end, with numbers that the closed loop did not use."""
    numbers = itertools.count((number + 1) * _NUMBERS - _NUMBERS // 2)
    return (
        calls[index].numbered(own)
        for own, index in zip(numbers, itertools.cycle(order), strict=False)
    )


def _delete_created(site: Site) -> None:
    """Delete the notes that were created, without the site's triggers: nobody has read them."""
    url = site.stack.operator_urls()["DATABASE_URL"]
    with psycopg.connect(url, options="-c session_replication_role=replica") as connection:
        connection.execute("DELETE FROM notes WHERE user_id = %s", [scenarios.USER])


def _count(site: Site, run: FixedCount) -> list[Sample]:
    if run.call is None:
        call = Call("", f"/api/v1/notes/{create_note(site.url, scenarios.USER)}")
    else:
        call = run.call
        _prime(site, [call])
    samples = fixed_count(site.url, call, requests=run.requests, concurrency=run.concurrency)
    scenarios.check(run.name, samples, status=200, cache=run.cache)
    if run.call is None and not any(sample.cache == "fwd=uri-miss; stored" for sample in samples):
        raise UnexpectedResponse(f"{run.name}: no response was a miss")
    return samples


def _saturation(arm: Arm, server: str, turns: Mapping[tuple[str, str], list[Turn]]) -> Saturation:
    own = turns[arm.name, server]
    rates = [turn.load.per_second for turn in own]
    return Saturation(
        arm.name,
        server,
        statistics.median(rates),
        statistics.median(turn.load.p50_ms for turn in own),
        statistics.median(turn.load.p99_ms for turn in own),
        {
            name: statistics.median(turn.processor_us[name] for turn in own)
            for name in own[0].processor_us
        },
        ratio_of_medians([turn.load.per_second for turn in turns[arm.name, SITE]], rates),
        sum(turn.errors for turn in own),
        rates,
    )


def _figure(arm: Arm, turns: Mapping[tuple[str, str], list[Turn]]) -> Figure:
    own, base = turns[arm.name, SITE], turns[arm.baseline, SITE]
    latencies = [sample.latency_ms for turn in own for sample in turn.opened]
    medians = [turn.p50_ms for turn in own]
    rates = [turn.load.per_second for turn in own]
    return Figure(
        arm.name,
        arm.baseline,
        len(latencies),
        statistics.median(medians),
        percentile(latencies, 0.95),
        percentile(latencies, 0.99),
        ratio_of_medians(medians, [turn.p50_ms for turn in base]),
        statistics.median(rates),
        ratio_of_medians(rates, [turn.load.per_second for turn in base]),
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
    """Return how long a run took: from its start to its last response."""
    return max(sample.at * 1000 + sample.latency_ms for sample in samples)


def _errors(samples: Sequence[Sample]) -> int:
    return sum(sample.status in (0, 500, 503) for sample in samples)
