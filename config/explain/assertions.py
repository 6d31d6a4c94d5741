"""
Plans as tests: which indexes must serve a statement, and how many rows it may read.

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
from config.explain.postgres_plans import SqlStatement

Explainable = (
    QuerySet[Any, Any] | Cursor[Any] | list[dict[str, Any]] | Callable[[], object] | Statement
)


def assert_plan(
    subject: Explainable, *, collection: Collection[Any] | None = None
) -> "PlanAssertions":
    """
    Run a statement once and return its plan to be checked.

    The subject is a query set, a pymongo cursor, a pipeline with its collection, or a function
    that sends exactly one SELECT. The plan depends on the data and its statistics, so insert
    thousands of rows and run ANALYZE first.
    """
    return PlanAssertions(_statement(subject, collection).explain())


def _statement(subject: Explainable, collection: Collection[Any] | None) -> Statement:
    if isinstance(subject, QuerySet):
        return postgres_plans.compile_queryset(subject)
    if isinstance(subject, Cursor):
        return Find(subject.clone)
    if isinstance(subject, list):
        if collection is None:
            raise TypeError(
                "a pipeline needs its collection: assert_plan(pipeline, collection=...)"
            )
        return Aggregate(collection, subject)
    if isinstance(subject, (SqlStatement, Find, Aggregate)):
        return subject
    return _only(postgres_plans.capture_selects(subject))  # type: ignore[arg-type]  # only a call remains


def _only(sent: list[SqlStatement]) -> SqlStatement:
    if len(sent) != 1:
        texts = "\n".join(statement.sql for statement in sent)
        raise AssertionError(f"one SELECT was expected, {len(sent)} were sent\n{texts}")
    return sent[0]


class PlanAssertions:
    """A plan with the assertions that can be made on it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def uses(self, *names: str) -> Self:
        """Require each of these indexes; others are allowed."""
        missing = set(names) - self.plan.indexes
        return self._check(not missing, f"does not use {_listed(missing)}")

    def uses_only(self, *names: str) -> Self:
        """Require exactly these indexes."""
        return self._check(self.plan.indexes == set(names), f"should use {_listed(names)} alone")

    def uses_one_of(self, *names: str) -> Self:
        """Require at least one of these indexes, and no others: where the planner has a choice."""
        used = self.plan.indexes
        return self._check(bool(used) and used <= set(names), f"should use one of {_listed(names)}")

    def no_seq_scan(self) -> Self:
        """Require that no table or collection is scanned as a whole."""
        return self._check(not self.plan.has_full_scan, "reads the whole table")

    def scans_whole_table(self) -> Self:
        """Require a full scan that is known and accepted: the test fails once an index serves it."""
        return self._check(self.plan.has_full_scan, "does not read the whole table any more")

    def no_sort(self) -> Self:
        """Require that rows come in index order. Ties and groups may be sorted."""
        return self._check(not self.plan.sorts, "sorts")

    def reads_the_index_alone(self) -> Self:
        """Require an index-only read: no row or document fetched. PostgreSQL needs a VACUUM first."""
        return self._check(
            self.plan.rows_fetched == 0 and not self.plan.has_full_scan,
            f"fetches {self.plan.rows_fetched} rows",
        )

    def rows_examined_at_most(self, most: int) -> Self:
        """Require that scans read at most this many rows or index keys, returned or not."""
        examined = self.plan.rows_examined
        return self._check(examined <= most, f"examines {examined} rows, more than {most}")

    def rows_fetched_at_most(self, most: int) -> Self:
        """Require that at most this many rows or documents are fetched from the table itself."""
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
