"""What the statements take at present, with an index more, and with one less."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from config.advisor.selection import Before, Gain, Query, took
from config.explain.plan import Statement
from config.explain.postgres_plans import SqlStatement

Tell = Callable[[str], None]


class Proving:
    """The statements, and what each took before anything was tried (before, by fingerprint)."""

    def __init__(self, queries: Sequence[Query], runs: int, tell: Tell) -> None:
        self._queries = queries
        self._runs = runs
        self.tell = tell
        self.before: Before = {}
        for query in queries:
            tell(f"measuring {query.ran.name}")
            self.before[query.ran.fingerprint] = took(query, runs)

    def gains(self, table: str, index: str, before: Before) -> list[Gain]:
        """Return what an index that was made just now gains the statements that use it."""
        return [
            Gain(
                ran=query.ran,
                without=before[query.ran.fingerprint],
                with_it=took(query, self._runs),
            )
            for query in self._using(table, index)
        ]

    def without(self, table: str, index: str, absent: AbstractContextManager[None]) -> list[Gain]:
        """Return what an index that is there gains them; absent hides it for a block."""
        using = self._using(table, index)
        if not using:
            return []
        self.tell(f"trying without {index}")
        with absent:
            return [
                Gain(
                    ran=query.ran,
                    without=took(query, self._runs),
                    with_it=self.before[query.ran.fingerprint],
                )
                for query in using
            ]

    def _using(self, table: str, index: str) -> list[Query]:
        """Return the statements for which the planner picks an index, with any of their values."""
        return [
            query
            for query in self._queries
            if table in query.tables and any(index in _planned(one) for one in query.statements)
        ]


def _planned(statement: Statement) -> frozenset[str]:
    if isinstance(statement, SqlStatement):
        return statement.planned_indexes()
    return statement.explain().indexes
