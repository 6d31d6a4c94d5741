"""What the statements cost now, with one more index, and with one less."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from config.advisor.selection import Baseline, Gain, ReplayQuery, measure_query
from config.explain.plan import Statement
from config.explain.postgres_plans import SqlStatement

OnProgress = Callable[[str], None]


class Benchmark:
    """The queries, and what each cost before any trial (before, by fingerprint)."""

    def __init__(self, queries: Sequence[ReplayQuery], runs: int, on_progress: OnProgress) -> None:
        self._queries = queries
        self._runs = runs
        self.on_progress = on_progress
        self.before: Baseline = {}
        for query in queries:
            on_progress(f"measuring {query.stats.name}")
            self.before[query.stats.fingerprint] = measure_query(query, runs)

    def gains(self, table: str, index: str, before: Baseline) -> list[Gain]:
        """Return the gains of the statements that use a newly built index."""
        return [
            Gain(
                stats=query.stats,
                without=before[query.stats.fingerprint],
                with_it=measure_query(query, self._runs),
            )
            for query in self._using(table, index)
        ]

    def without(self, table: str, index: str, absent: AbstractContextManager[None]) -> list[Gain]:
        """Return the gains by an existing index; absent hides it for a block."""
        using = self._using(table, index)
        if not using:
            return []
        self.on_progress(f"trying without {index}")
        with absent:
            return [
                Gain(
                    stats=query.stats,
                    without=measure_query(query, self._runs),
                    with_it=self.before[query.stats.fingerprint],
                )
                for query in using
            ]

    def _using(self, table: str, index: str) -> list[ReplayQuery]:
        """Return the queries for which the planner picks an index, with any of their values."""
        return [
            query
            for query in self._queries
            if table in query.tables
            and any(index in _planned(statement) for statement in query.statements)
        ]


def _planned(statement: Statement) -> frozenset[str]:
    if isinstance(statement, SqlStatement):
        return statement.planned_indexes()
    return statement.explain().indexes
