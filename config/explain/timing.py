"""How long a statement takes: the median of a few runs, the least and the most."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from config.explain.plan import Plan, Statement


@dataclass(frozen=True, kw_only=True)
class Timing:
    """So many runs in milliseconds: PostgreSQL's own clock, or that of MongoDB's client."""

    runs: int
    median_ms: float
    least_ms: float
    most_ms: float

    @property
    def text(self) -> str:
        """The median and, in brackets, from the least to the most."""
        return f"{ms(self.median_ms)} ({_number(self.least_ms)} to {_number(self.most_ms)})"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A statement's plan in the run of the median, and its timing over all runs."""

    plan: Plan
    timing: Timing


def timing_of(times_ms: Sequence[float]) -> Timing:
    """Return the timing of these runs, at least one."""
    return Timing(
        runs=len(times_ms),
        median_ms=statistics.median(times_ms),
        least_ms=min(times_ms),
        most_ms=max(times_ms),
    )


def measured(statement: Statement, *, runs: int) -> Measured:
    """
    Run a statement once to warm up, then so many times.

    EXPLAIN's clock slows a plan of many rows down, by a tenth or so, with and without an index
    alike. MongoDB's explain tells whole milliseconds, so there the client's time is taken.
    """
    plans = [statement.explain() for _ in range(runs + 1)][1:]
    if statement.store == "mongodb":
        times = [_run_ms(statement) for _ in range(runs)]
    else:
        times = [plan.execution_ms for plan in plans]
    by_time = sorted(plans, key=lambda plan: plan.execution_ms)
    return Measured(plan=by_time[len(by_time) // 2], timing=timing_of(times))


def ms(value: float) -> str:
    """Return milliseconds with three digits that matter."""
    return f"{_number(value)} ms"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def times(factor: float) -> str:
    """Return how many times as long, such as 12 x."""
    return f"{factor:.2g} x" if factor < 100 else f"{factor:.0f} x"


def kib(size: int) -> str:
    """Return bytes as KiB."""
    return f"{size / 1024:.0f} KiB"


def _run_ms(statement: Statement) -> float:
    started = time.perf_counter()
    statement.execute()
    return (time.perf_counter() - started) * 1000
