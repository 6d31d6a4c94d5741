"""The seed's four indexes on the copy: what each takes, what it saves, and how often it is used."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from loadtests.experiments.query_plans import queries, scratch
from loadtests.experiments.query_plans.plans import Connection, explain, median_ms

_COUNT: Final = "SELECT count(*) FROM {} WHERE user_id = %s"
_NEWEST: Final = "SELECT * FROM {} ORDER BY created_at DESC LIMIT 20"
_FOUND: Final = "SELECT * FROM {} WHERE to_tsvector('english', title) @@ to_tsquery('english', %s)"
_WORD: Final = "risk"  # the rarest of the made-up titles
_USES: Final = (
    "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"
    " WHERE schemaname = %s AND indexrelname = ANY(%s)"
)


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What an index takes in bytes, and its query without it, beside the others, and with it."""

    name: str
    query: str
    size_bytes: int
    without_ms: float
    with_ms: float

    @property
    def saved_ms(self) -> float:
        return self.without_ms - self.with_ms

    @property
    def saved_ms_per_mib(self) -> float:
        return self.saved_ms / (self.size_bytes / 2**20)


@dataclass(frozen=True, kw_only=True)
class Uses:
    """What pg_stat_user_indexes counted while a question was asked so many times."""

    question: str
    runs: int
    planned: tuple[str, ...]  # the indexes that EXPLAIN names
    scans: dict[str, int]

    @property
    def agrees(self) -> bool:
        """Whether each index that the plan names was scanned in each run, and no other was."""
        return all(
            scans == (self.runs if name in self.planned else 0)
            for name, scans in self.scans.items()
        )


def worth(connection: Connection, user: str, *, runs: int) -> Iterator[Worth]:
    """Ask each index's query with all four, and with that one dropped and rolled back."""
    asked: dict[str, tuple[str, queries.Asked]] = {
        "idx_notes_user_id": ("count of a user's notes", _of(_COUNT, user)),
        "idx_notes_created_at": ("newest of all", _of(_NEWEST)),
        "idx_notes_title_search": ("titles with a rare word", _of(_FOUND, _WORD)),
        "idx_notes_user_created": (
            "newest of a user",
            queries.by_offset(0, table=scratch.TABLE, user=user),
        ),
    }
    with scratch.like_the_notes(connection) as sizes:
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(scratch.TABLE))  # of expressions
        for name, (query, statement) in asked.items():
            with_ms = median_ms(explain(connection, *statement, runs=runs + 1)[1:])
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("DROP INDEX {}").format(scratch.named(name)))
                without_ms = median_ms(explain(connection, *statement, runs=runs + 1)[1:])
            yield Worth(
                name=name,
                query=query,
                size_bytes=sizes[name],
                without_ms=without_ms,
                with_ms=with_ms,
            )


def uses(connection: Connection, page: int, *, runs: int) -> Iterator[Uses]:
    """Ask each question so many times; count by how much each index's scans go up."""
    with scratch.like_the_notes(connection, titles=False):
        asked = queries.questions(connection, page, table=scratch.TABLE)
        for question, statement in asked.items():
            before = _scans(connection)
            plans = explain(connection, *statement, runs=runs)
            after = _scans(connection)
            yield Uses(
                question=question,
                runs=runs,
                planned=plans[0].indexes,
                scans={name: after[name] - before[name] for name in after},
            )


def _of(text: str, *params: object) -> queries.Asked:
    return sql.SQL(text).format(scratch.TABLE), params


def _scans(connection: Connection) -> dict[str, int]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    names = list(scratch.FOUR)
    return dict(connection.execute(_USES, [scratch.NAME, names]).fetchall())
