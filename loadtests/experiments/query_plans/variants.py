"""Other indexes, each on the copy: of two columns, of few rows, of another kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from loadtests.experiments.query_plans import queries, scratch
from loadtests.experiments.query_plans.plans import Connection, Plan, explain, one

_USUAL_SHARE: Final = 0.02  # of all notes: the user on whom indexes are compared
_EDITED: Final = "SELECT * FROM {} WHERE version > 1 ORDER BY updated_at DESC LIMIT 20"
_EQUAL: Final = "SELECT * FROM {0} WHERE {1} = %s"
_RANGE: Final = "SELECT * FROM {0} WHERE {1} > %s ORDER BY {1} LIMIT 20"
_VERSIONS: Final = (1, 2, 3, 4, 5, 6)
_USERS: Final = "SELECT user_id FROM {} GROUP BY 1 ORDER BY abs(count(*) - %s), 1 LIMIT 1"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An index of one kind: equal is a lookup by =, beyond a range in order."""

    column: str
    kind: str
    size_bytes: int
    built_ms: float
    equal: list[Plan]
    beyond: list[Plan]


@dataclass(frozen=True, kw_only=True)
class Partial:
    """The list of edited notes with one index, or none."""

    name: str
    size_bytes: int
    plans: list[Plan]


@dataclass(frozen=True, kw_only=True)
class Selective:
    """Notes of a version or more, an index there: which part of all they are, and both ways."""

    condition: str
    share: float
    planned: list[Plan]
    scanned_whole: list[Plan]


@dataclass(frozen=True, kw_only=True)
class Variants:
    """All of them, on so many rows."""

    rows: int
    apart: list[Plan]  # the usual user's first page with an index on each column
    composite: list[Plan]  # the same with one on both
    kinds: list[Kind]
    edited_share: float
    partial: list[Partial]
    selective: list[Selective]


def variants(connection: Connection, rows: int, *, runs: int) -> Variants:
    """Try all of them on a copy of so many rows."""
    scratch.grow(connection, rows)
    user = usual_user(connection, rows)
    apart, composite = _columns(connection, user, runs)
    return Variants(
        rows=rows,
        apart=apart,
        composite=composite,
        kinds=list(_kinds(connection, user, runs)),
        edited_share=_share(connection, 2),
        partial=list(_partial(connection, runs)),
        selective=list(_selective(connection, runs)),
    )


def usual_user(connection: Connection, rows: int) -> str:
    """Return the user who has about a fiftieth of so many rows."""
    return str(_one(connection, _USERS, [rows * _USUAL_SHARE])[0])


def _columns(connection: Connection, user: str, runs: int) -> tuple[list[Plan], list[Plan]]:
    statement, params = queries.by_offset(0, table=scratch.TABLE, user=user)
    with (
        scratch.index(connection, "on_user", scratch.USER_ID),
        scratch.index(connection, "on_created", scratch.CREATED_AT),
    ):
        apart = explain(connection, statement, params, runs=runs)
        with scratch.index(connection, "on_both", scratch.USER_CREATED):
            composite = explain(connection, statement, params, runs=runs)
    return apart, composite


def _kinds(connection: Connection, user: str, runs: int) -> Iterator[Kind]:
    note_id = _one(connection, "SELECT id FROM {} LIMIT 1")[0]
    for column, value in (("user_id", user), ("id", note_id)):
        name = sql.Identifier(column)
        equal, beyond = (sql.SQL(asked).format(scratch.TABLE, name) for asked in (_EQUAL, _RANGE))
        on = sql.SQL("({})").format(name)
        for kind in ("btree", "hash"):
            with scratch.index(connection, "kind", on, kind=kind) as (size, built_ms):
                yield Kind(
                    column=column,
                    kind=kind,
                    size_bytes=size,
                    built_ms=built_ms,
                    equal=explain(connection, equal, [value], runs=runs),
                    beyond=explain(connection, beyond, [value], runs=runs),
                )


def _partial(connection: Connection, runs: int) -> Iterator[Partial]:
    edited = sql.SQL(_EDITED).format(scratch.TABLE)
    yield Partial(name="none", size_bytes=0, plans=explain(connection, edited, runs=runs))
    for name, on in (
        ("whole", sql.SQL("(updated_at DESC)")),
        ("partial", sql.SQL("(updated_at DESC) WHERE version > 1")),
    ):
        with scratch.index(connection, name, on) as (size, _):
            yield Partial(name=name, size_bytes=size, plans=explain(connection, edited, runs=runs))


def _selective(connection: Connection, runs: int) -> Iterator[Selective]:
    asked = sql.SQL("SELECT * FROM {} WHERE version >= %s").format(scratch.TABLE)
    for version in _VERSIONS:
        whole = explain(connection, asked, [version], runs=runs)
        with scratch.index(connection, "on_version", sql.SQL("(version)")):
            planned = explain(connection, asked, [version], runs=runs)
        yield Selective(
            condition=f"version >= {version}",
            share=_share(connection, version),
            planned=planned,
            scanned_whole=whole,
        )


def _share(connection: Connection, version: int) -> float:
    asked = "SELECT count(*) FILTER (WHERE version >= %s)::float / count(*) FROM {}"
    return float(_one(connection, asked, [version])[0])


def _one(connection: Connection, text: str, params: list[Any] | None = None) -> tuple[Any, ...]:
    return one(connection, sql.SQL(text).format(scratch.TABLE), params or [])
