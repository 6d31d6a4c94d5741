"""Indexes tried on the copy: composite, hash, partial, selective; and what the seed's four are worth."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from psycopg import sql

from config.explain.plan import Plan
from config.explain.variants import (
    Build,
    IndexVariant,
    btree_or_hash,
    explain_runs,
    partial_or_whole,
)
from loadtests.experiments.query_plans import scratch
from loadtests.experiments.query_plans.queries import Connection, Notes, median_ms

_USUAL_SHARE: Final = 0.02  # of all notes: the user for whom indexes are compared
_NEWEST: Final = "SELECT * FROM {} ORDER BY created_at DESC LIMIT 20"
_SEARCH: Final = "SELECT * FROM {} WHERE to_tsvector('english', title) @@ to_tsquery('english', %s)"
_RARE_WORD: Final = "risk"  # the rarest in the generated titles
_INDEX_SCANS: Final = (
    "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes"
    " WHERE schemaname = %s AND indexrelname = ANY(%s)"
)
_EDITED: Final = "SELECT * FROM {} WHERE version > 1 ORDER BY updated_at DESC LIMIT 20"
_EQUAL: Final = "SELECT * FROM {} WHERE COLUMN = %s"
_RANGE: Final = "SELECT * FROM {} WHERE COLUMN > %s ORDER BY COLUMN LIMIT 20"
EQUAL: Final = "="
ORDERED: Final = "> and ORDER BY"
_VERSIONS: Final = (1, 2, 3, 4, 5, 6)
_USERS: Final = "SELECT user_id FROM {} GROUP BY 1 ORDER BY abs(count(*) - %s), 1 LIMIT 1"


@dataclass(frozen=True, kw_only=True)
class Selectivity:
    """Notes of a version or higher: their share of all, with an index on version and without it."""

    condition: str
    share: float
    planned: list[Plan]
    full_scan: list[Plan]


@dataclass(frozen=True, kw_only=True)
class Variants:
    """The results of all variants."""

    rows: int
    separate: list[Plan]  # the usual user's first page with an index on each column
    composite: list[Plan]  # the same with one on both
    kinds: list[tuple[str, IndexVariant]]  # with its column; of EQUAL and ORDERED
    edited_share: float
    partial: list[IndexVariant]  # none, whole, partial
    selective: list[Selectivity]


@dataclass(frozen=True, kw_only=True)
class IndexBenefit:
    """The size of an index, and the time of its query without it, beside the others, and with it."""

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
class IndexUsage:
    """What pg_stat_user_indexes counted during the runs of a query."""

    query: str
    runs: int
    planned: frozenset[str]  # the indexes that EXPLAIN names
    scans: dict[str, int]

    @property
    def agrees(self) -> bool:
        """Whether each index that the plan names was scanned in each run, and no other was."""
        return all(
            scans == (self.runs if name in self.planned else 0)
            for name, scans in self.scans.items()
        )


def variants(copy: Notes, rows: int, *, runs: int) -> Variants:
    """Try all variants on a copy of that many rows."""
    scratch.grow(copy, rows)
    user = usual_user(copy, rows)
    separate, composite = _columns(copy, user, runs)
    return Variants(
        rows=rows,
        separate=separate,
        composite=composite,
        kinds=list(_kinds(copy, user, runs)),
        edited_share=_share(copy, 2),
        partial=partial_or_whole(
            "updated_at DESC",
            "version > 1",
            copy.query(_EDITED),
            build=_build(copy),
            runs=runs,
        ),
        selective=list(_selective(copy, runs)),
    )


def usual_user(copy: Notes, rows: int) -> str:
    """Return the user who has about a fiftieth of the rows."""
    return str(copy.query(_USERS, rows * _USUAL_SHARE).row()[0])


def _columns(copy: Notes, user: str, runs: int) -> tuple[list[Plan], list[Plan]]:
    first_page = copy.by_offset(0, user=user)
    with (
        scratch.index(copy, "on_user", scratch.USER_ID),
        scratch.index(copy, "on_created", scratch.CREATED_AT),
    ):
        separate = explain_runs(first_page, runs=runs)
        with scratch.index(copy, "on_both", scratch.USER_CREATED):
            composite = explain_runs(first_page, runs=runs)
    return separate, composite


def _kinds(copy: Notes, user: str, runs: int) -> Iterator[tuple[str, IndexVariant]]:
    note_id = copy.query("SELECT id FROM {} LIMIT 1").row()[0]
    for column, value in (("user_id", user), ("id", note_id)):
        statements = {
            key: copy.query(text.replace("COLUMN", column), value)
            for key, text in ((EQUAL, _EQUAL), (ORDERED, _RANGE))
        }
        for index in btree_or_hash(column, statements, build=_build(copy), runs=runs):
            yield column, index


def _build(copy: Notes) -> Build:
    return partial(scratch.index, copy, "variant")


def _selective(copy: Notes, runs: int) -> Iterator[Selectivity]:
    for version in _VERSIONS:
        condition = copy.query("SELECT * FROM {} WHERE version >= %s", version)
        full_scan = explain_runs(condition, runs=runs)
        with scratch.index(copy, "on_version", "(version)"):
            planned = explain_runs(condition, runs=runs)
        yield Selectivity(
            condition=f"version >= {version}",
            share=_share(copy, version),
            planned=planned,
            full_scan=full_scan,
        )


def _share(copy: Notes, version: int) -> float:
    share = "SELECT count(*) FILTER (WHERE version >= %s)::float / count(*) FROM {}"
    return float(copy.query(share, version).row()[0])


def index_benefits(copy: Notes, user: str, *, runs: int) -> Iterator[IndexBenefit]:
    """Run the query of each of the seed's indexes with all four, and with that one rolled away."""
    by_index = {
        "idx_notes_user_id": (
            "count of a user's notes",
            copy.count_of_user(user),
        ),
        "idx_notes_created_at": ("newest of all", copy.query(_NEWEST)),
        "idx_notes_title_search": ("titles with a rare word", copy.query(_SEARCH, _RARE_WORD)),
        scratch.COMPOSITE: (
            "newest of a user",
            copy.by_offset(0, user=user),
        ),
    }
    with scratch.seed_indexes(copy) as sizes:
        scratch.analyze(copy)
        for name, (title, query) in by_index.items():
            with_ms = median_ms(explain_runs(query, runs=runs))
            with copy.connection.transaction(force_rollback=True):
                copy.connection.execute(sql.SQL("DROP INDEX {}").format(scratch.named(name)))
                without_ms = median_ms(explain_runs(query, runs=runs))
            yield IndexBenefit(
                name=name,
                query=title,
                size_bytes=sizes[name],
                without_ms=without_ms,
                with_ms=with_ms,
            )


def index_usage(copy: Notes, page: int, *, runs: int) -> Iterator[IndexUsage]:
    """Run the query of each page; count the scans of each index."""
    with scratch.seed_indexes(copy, titles=False):
        for name, query in copy.pages(page).items():
            before = _scans(copy.connection)
            plans = [query.explain() for _ in range(runs)]
            after = _scans(copy.connection)
            yield IndexUsage(
                query=name,
                runs=runs,
                planned=plans[0].indexes,
                scans={index: after[index] - before[index] for index in after},
            )


def _scans(connection: Connection) -> dict[str, int]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    names = list(scratch.SEED_INDEXES)
    return dict(connection.execute(_INDEX_SCANS, [scratch.NAME, names]).fetchall())
