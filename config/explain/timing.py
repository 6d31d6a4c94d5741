"""How long a statement takes: the median, minimum and maximum of a few runs."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from config.explain.plan import Plan, Statement
from config.explain.variants import explain_runs


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds over several runs, by PostgreSQL's own clock or by MongoDB's client."""

    runs: int
    median_ms: float
    least_ms: float
    most_ms: float

    @property
    def text(self) -> str:
        """The median, followed by the range in parentheses."""
        return f"{ms(self.median_ms)} ({_number(self.least_ms)} to {_number(self.most_ms)})"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The plan of a statement's median run, and the timing over all runs."""

    plan: Plan
    timing: Timing


def summarize_runs(times_ms: Sequence[float]) -> Timing:
    """Return the timing of one or more runs."""
    return Timing(
        runs=len(times_ms),
        median_ms=statistics.median(times_ms),
        least_ms=min(times_ms),
        most_ms=max(times_ms),
    )


def measure(statement: Statement, *, runs: int) -> Measurement:
    """
    Run a statement once to warm up, then `runs` times under the clock.

    EXPLAIN's clock slows down a plan of many rows by about a tenth, with and without an index
    alike. MongoDB's explain reports whole milliseconds only, so its client is timed instead.
    """
    plans = explain_runs(statement, runs=runs)
    if statement.store == "mongodb":
        times = [_run_ms(statement) for _ in range(runs)]
    else:
        times = [plan.execution_ms for plan in plans]
    by_time = sorted(plans, key=lambda plan: plan.execution_ms)
    return Measurement(plan=by_time[len(by_time) // 2], timing=summarize_runs(times))


def ms(value: float) -> str:
    """Return milliseconds with three significant digits."""
    return f"{_number(value)} ms"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def times(factor: float) -> str:
    """Return a factor as text, such as 12 x."""
    return f"{factor:.2g} x" if factor < 100 else f"{factor:.0f} x"


def kib(size: int) -> str:
    """Return bytes as KiB."""
    return f"{size / 1024:.0f} KiB"


def _run_ms(statement: Statement) -> float:
    started = time.perf_counter()
    statement.execute()
    return (time.perf_counter() - started) * 1000
