"""What the bench has to show: a limit of a figure, absolute or beside a peer of the same run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from loadtests.bench.peers import DRF, SITE
from loadtests.bench.runner import Figures, Saturation
from loadtests.bench.scenarios import CREATED, HIT, MIX, NOT_MODIFIED, PAGE, REPLACED, UNCACHED
from loadtests.testbed.processor import POSTGRES


@dataclass(frozen=True)
class Outcome:
    """One goal beside what was measured."""

    arm: str
    goal: str
    measured: str
    holds: bool


def outcomes(figures: Figures) -> Iterator[Outcome]:
    """Yield each goal with its figure."""
    for arm, least in _LEAST_PER_SECOND.items():
        rate = figures.saturation(arm, SITE).requests_per_second
        yield Outcome(arm, f"at least {least:,}/s", f"{rate:,.0f}/s", rate >= least)
    for arm in (HIT, NOT_MODIFIED):
        p99 = figures.saturation(arm, SITE).p99_ms
        yield Outcome(arm, f"p99 at most {_P99_MS:g} ms", f"{p99:.2f} ms", p99 <= _P99_MS)
    for arm, least_times in _LEAST_OF_DRF.items():
        peer = figures.saturation(arm, DRF)
        yield Outcome(
            arm,
            f"at least {least_times:g} times {DRF}'s {peer.requests_per_second:,.0f}/s",
            f"{figures.saturation(arm, SITE).requests_per_second:,.0f}/s: {peer.ratio.text}",
            peer.ratio.value >= least_times,
        )
    for arm in (CREATED, REPLACED):
        yield _at_most_times(figures, arm, "PostgreSQL", "µs", _MOST_OF_POSTGRES, _postgres_us)
    for arm in _WITH_DRF:
        yield _at_most_times(figures, arm, "p99", "ms", 1, _p99_ms)


def _at_most_times(
    figures: Figures,
    arm: str,
    what: str,
    unit: str,
    times: float,
    value: Callable[[Saturation], float],
) -> Outcome:
    own, peer = (value(figures.saturation(arm, server)) for server in (SITE, DRF))
    factor = "" if times == 1 else f"{times:g} times "
    return Outcome(
        arm,
        f"{what} at most {factor}{DRF}'s {peer:,.1f} {unit}",
        f"{own:,.1f} {unit}",
        own <= times * peer,
    )


def _p99_ms(saturation: Saturation) -> float:
    return saturation.p99_ms


def _postgres_us(saturation: Saturation) -> float:
    return saturation.processor_us[POSTGRES]


# As many as a tuned Fastify did on another machine of this size, times 1.2; 1.1 for the mix, 2 for a page.
_LEAST_PER_SECOND: Final = {HIT: 60_000, NOT_MODIFIED: 60_000, MIX: 27_000, PAGE: 32_000}
_P99_MS: Final = 5.0
_LEAST_OF_DRF: Final = {UNCACHED: 1.5, CREATED: 1.2, REPLACED: 1.2}
_MOST_OF_POSTGRES: Final = 2.0
_WITH_DRF: Final = (HIT, PAGE, MIX, UNCACHED, CREATED, REPLACED)
