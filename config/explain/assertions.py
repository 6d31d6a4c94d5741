"""
Plans as tests: what a statement must be served by, and how many rows it may touch.

    assert_plan(rows).uses("idx_notes_user_created").no_seq_scan().rows_examined_at_most(50)

Each check returns the same object, or raises AssertionError with the statement and its plan.
"""

from collections.abc import Callable, Iterable
from typing import Any, Self

from django.db.models import QuerySet
from pymongo.collection import Collection
from pymongo.synchronous.cursor import Cursor

from config.explain import postgres_plans
from config.explain.mongo_plans import Aggregate, Find
from config.explain.plan import Plan, Statement
from config.explain.postgres_plans import Sql

Explainable = (
    QuerySet[Any, Any] | Cursor[Any] | list[dict[str, Any]] | Callable[[], object] | Statement
)


def assert_plan(subject: Explainable, *, collection: Collection[Any] | None = None) -> "Checked":
    """
    Run a statement once and return its plan to be checked.

    A query set, a pymongo cursor, a pipeline with the collection that it is for, or a call of
    which the only SELECT is meant. The plan is that for the data and the statistics at hand, so
    there should be thousands of rows, and an ANALYZE, before it.
    """
    return Checked(_statement(subject, collection).explain())


def _statement(subject: Explainable, collection: Collection[Any] | None) -> Statement:
    if isinstance(subject, QuerySet):
        return postgres_plans.of_queryset(subject)
    if isinstance(subject, Cursor):
        return Find(subject.clone)
    if isinstance(subject, list):
        if collection is None:
            raise TypeError(
                "a pipeline needs its collection: assert_plan(pipeline, collection=...)"
            )
        return Aggregate(collection, subject)
    if isinstance(subject, (Sql, Find, Aggregate)):
        return subject
    return _only(postgres_plans.of_call(subject))  # type: ignore[arg-type]  # what is left is a call


def _only(sent: list[Sql]) -> Sql:
    if len(sent) != 1:
        texts = "\n".join(one.sql for one in sent)
        raise AssertionError(f"one SELECT was expected, {len(sent)} were sent\n{texts}")
    return sent[0]


class Checked:
    """A plan with what can be asked of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def uses(self, *names: str) -> Self:
        """Demand each of these indexes; there may be others, too."""
        missing = set(names) - self.plan.indexes
        return self._check(not missing, f"does not use {_listed(missing)}")

    def uses_only(self, *names: str) -> Self:
        """Demand these indexes, and no others."""
        return self._check(self.plan.indexes == set(names), f"should use {_listed(names)} alone")

    def uses_one_of(self, *names: str) -> Self:
        """Demand some of these indexes, and no others: where more than one will do."""
        used = self.plan.indexes
        return self._check(bool(used) and used <= set(names), f"should use one of {_listed(names)}")

    def no_seq_scan(self) -> Self:
        """Demand that no table and no collection is read from end to end."""
        return self._check(not self.plan.scans_whole, "reads the whole table")

    def scans_whole_table(self) -> Self:
        """Demand what is known and put up with: the test fails once an index serves it."""
        return self._check(self.plan.scans_whole, "does not read the whole table any more")

    def no_sort(self) -> Self:
        """Demand that rows come in the order of an index; ties may be sorted, and so may groups."""
        return self._check(not self.plan.sorts, "sorts")

    def reads_the_index_alone(self) -> Self:
        """Demand that no row or document is fetched; PostgreSQL needs a VACUUM before that."""
        return self._check(
            self.plan.rows_fetched == 0 and not self.plan.scans_whole,
            f"fetches {self.plan.rows_fetched} rows",
        )

    def rows_examined_at_most(self, most: int) -> Self:
        """Demand that scans touch so many rows or keys of an index at most, kept or left out."""
        examined = self.plan.rows_examined
        return self._check(examined <= most, f"examines {examined} rows, more than {most}")

    def rows_fetched_at_most(self, most: int) -> Self:
        """Demand that so many rows or documents at most are fetched from the table itself."""
        fetched = self.plan.rows_fetched
        return self._check(fetched <= most, f"fetches {fetched} rows, more than {most}")

    def _check(self, holds: bool, failure: str) -> Self:  # private, and plain
        if not holds:
            raise AssertionError(
                f"the plan {failure}; it uses {_listed(self.plan.indexes)}\n"
                f"{self.plan.statement}\n{self.plan.as_text()}"
            )
        return self


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no index"
