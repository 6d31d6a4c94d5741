"""The recommended size of a PostgreSQL pool: what the load needs, within what the server allows."""

import math
from typing import Final, Literal, NamedTuple

from cachelayer import prometheus
from cachelayer.prometheus import Samples

# The relay of the outbox, the watcher of profiles and the lease of trust: in each process, each has a
# connection of its own, and the first two take another from the pool now and then.
BACKGROUND: Final = 3
Bound = Literal["load", "formula", "threads", "server"]


class Load(NamedTuple):
    """Connections lent each second, and for how many seconds each, over all processes."""

    rate: float
    hold_seconds: float

    @property
    def busy(self) -> float:
        """Connections in use at once, on average: Little's law."""
        return self.rate * self.hold_seconds


class Site(NamedTuple):
    """The processes of the site, their threads, and the pool of each."""

    workers: int
    threads: int
    pool_max: int


class Advice(NamedTuple):
    """Connections of each process: what is needed, the limits, and which of these decides."""

    load: int | None
    formula: int
    threads: int
    server: int
    binds: Bound
    pool_max: int


def measured(before: Samples, after: Samples, seconds: float) -> Load | None:
    """Return the load between two readings of the counts; None: no connection was lent."""
    lent, held_seconds = (
        prometheus.total(after, name) - prometheus.total(before, name)
        for name in ("postgres_hold_seconds_count", "postgres_hold_seconds_sum")
    )
    return Load(lent / seconds, held_seconds / lent) if lent > 0 else None


def formula(cores: int, spindles: int) -> int:
    """Return how many statements a server works on at once: cores x 2 + effective spindles."""
    return cores * 2 + spindles


def advise(*, load: Load | None, at_once: int, usable: int, site: Site) -> Advice:
    """
    Return what POSTGRES_POOL_MAX should be, and why.

    at_once: the formula's, for the server. usable: connections that the server leaves to the
    site. Each process has a pool of its own, so its share of the load gets two standard deviations
    on top (of the Poisson distribution), which suffices 98 % of the time.
    """
    needed = None
    if load is not None:
        share = load.busy / site.workers
        needed = math.ceil(share + 2 * math.sqrt(share))
    by_formula = math.ceil(at_once / site.workers)
    binds: Bound = "formula"
    size = by_formula
    if needed is not None and needed > by_formula:
        size, binds = needed, "load"
    limits: dict[Bound, int] = {
        "threads": site.threads + BACKGROUND,
        "server": usable // site.workers,
    }
    for name, limit in limits.items():
        if limit < size:
            size, binds = limit, name
    return Advice(
        load=needed,
        formula=by_formula,
        **limits,
        binds=binds,
        pool_max=max(1, size),
    )
