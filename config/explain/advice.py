"""Whether to keep an index, as a sentence with the reason."""

from typing import Final

from config.explain.indexes import Index
from config.explain.report import InsertCost, ServedQuery
from config.explain.timing import ms, times

# Without an index its query must take this many times as long; less is within the noise.
WORTH_FACTOR: Final = 1.5
WORTH_MS: Final = 0.02


def recommend(index: Index, served: list[ServedQuery], cost: InsertCost | None) -> str:
    """Return whether to keep an index, and why."""
    price = f" Its cost: {cost.text}." if cost is not None else ""
    if index.expires:
        price += " It is also the TTL index by which MongoDB deletes expired documents."
    if index.is_unique:
        return "Keep: it enforces a constraint, whichever reads it serves."
    if not served:
        return f"Drop, unless something outside the service needs it: no query uses it.{price}"
    measured = [served_query for served_query in served if served_query.factor is not None]
    if not measured:
        names = ", ".join(served_query.query for served_query in served)
        return f"Used by {names}; run with --drop-indexes to measure them without it."
    most = max(measured, key=lambda served_query: served_query.factor or 0)
    return _verdict(index, most, price) + _to_its_loss(measured)


def _verdict(index: Index, most: ServedQuery, price: str) -> str:
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
            f"query that loses most, {most.query}, takes {times(factor)} as long.{price}"
        )
    return (
        f"Hardly worth it at this size: without it {most.query}, which loses most, takes "
        f"{times(factor)} as long.{price} Check again when the table has grown."
    )


def _to_its_loss(measured: list[ServedQuery]) -> str:
    """Return the queries that are faster without the index that the planner chose."""
    worse = [
        f"{served_query.query} ({times(served_query.factor or 0)} as long without it)"
        for served_query in measured
        if (served_query.factor or 1) <= 1 / WORTH_FACTOR and served_query.added_ms <= -WORTH_MS
    ]
    return f" The planner picks it to its disadvantage for {', '.join(worse)}." if worse else ""


def _although(index: Index) -> str:
    if index.covered_by is None:
        return ""
    return f", although {index.covered_by} begins with the same columns"
