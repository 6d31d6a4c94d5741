"""What to do about an index, in a sentence with its reason."""

from typing import Final

from config.explain.indexes import Index
from config.explain.report import Cost, Served
from config.explain.timing import ms, times

# A query that takes so many times as long without an index misses it; less is within the noise.
WORTH_FACTOR: Final = 1.5
WORTH_MS: Final = 0.02


def advice(index: Index, served: list[Served], cost: Cost | None) -> str:
    """Return whether to keep an index, and why."""
    price = f" Its cost: {cost.text}." if cost is not None else ""
    if index.expires:
        price += " MongoDB also deletes by it what is past its time."
    if index.is_unique:
        return "Keep: it holds a constraint, whatever reads it serves besides."
    if not served:
        return f"Drop, unless something outside of the service needs it: no query uses it.{price}"
    measured = [one for one in served if one.factor is not None]
    if not measured:
        names = ", ".join(one.query for one in served)
        return (
            f"In use by {names}; run with --drop-indexes to learn what they would take without it."
        )
    most = max(measured, key=lambda one: one.factor or 0)
    return _verdict(index, most, price) + _to_its_loss(measured)


def _verdict(index: Index, most: Served, price: str) -> str:
    factor = most.factor or 0
    without = "" if most.without is None else ms(most.without.timing.median_ms)
    if factor >= WORTH_FACTOR and most.added_ms >= WORTH_MS:
        return (
            f"Keep{_although(index)}: without it {most.query} takes {without} instead of "
            f"{ms(most.with_it.timing.median_ms)}, {times(factor)} as long.{price}"
        )
    if index.covered_by is not None:
        return (
            f"Drop: {index.covered_by} begins with the same columns and serves in its place; the "
            f"query that misses it most, {most.query}, takes {times(factor)} as long.{price}"
        )
    return (
        f"Hardly worth it at this size: without it {most.query}, which misses it most, takes "
        f"{times(factor)} as long.{price} Look again when the table has grown."
    )


def _to_its_loss(measured: list[Served]) -> str:
    """Return which queries are quicker without the index, which the planner chose for them."""
    worse = [
        f"{one.query} ({times(one.factor or 0)} as long without it)"
        for one in measured
        if (one.factor or 1) <= 1 / WORTH_FACTOR and one.added_ms <= -WORTH_MS
    ]
    return f" The planner picks it to its loss for {', '.join(worse)}." if worse else ""


def _although(index: Index) -> str:
    if index.covered_by is None:
        return ""
    return f", although {index.covered_by} begins with the same columns"
