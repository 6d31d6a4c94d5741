"""
Values for statements of which none were kept: from rows that the tables really have.

All values of a run come from one row of each table, so that they belong together, and from rows
spread over the table, so that who has many rows is asked for as often as that.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db import connection

from config.advisor.query_analysis import CONFIGURATION, Asked, NotUnderstood, Role
from config.explain.postgres_plans import SqlStatement
from config.explain.sandbox import quoted

ROWS: Final = 3
_LIMIT: Final = 21  # a page of the usual length and one more, where it was not kept
_WORD: Final = re.compile(r"[^\W\d_]{3,}")

Row = Mapping[str, Any]


def rows_of(tables: Sequence[str]) -> dict[str, list[Row]]:
    """Return so many rows of each table, spread over it; none of an empty one."""
    return {table: _spread(table) for table in tables}


def filled(statement: str, asked: Asked, rows: Mapping[str, Sequence[Row]]) -> list[SqlStatement]:
    """Return the statement with values, once for each row. Raises NotUnderstood."""
    tables = {role.table for role in asked.roles if role.table}
    unknown = [table for table in tables if not rows.get(table)]
    if unknown:
        raise NotUnderstood(f"there is no row of {unknown[0]} to take values from")
    count = ROWS if tables else 1
    return [
        SqlStatement(
            statement.replace(", ...", ""),
            tuple(
                _value(role, rows[role.table][number] if role.table else {}) for role in asked.roles
            ),
        )
        for number in range(count)
    ]


def _spread(table: str) -> list[Row]:
    name = quoted(table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {name}")  # noqa: S608  # a name of the database's own
        count = int(cursor.fetchone()[0])
        if not count:
            return []
        found: list[Row] = []
        for number in range(ROWS):
            at = min(count - 1, count * (2 * number + 1) // (2 * ROWS))
            cursor.execute(f"SELECT * FROM {name} OFFSET %s LIMIT 1", [at])  # noqa: S608
            names = [column.name for column in cursor.description]
            found.append(dict(zip(names, cursor.fetchone(), strict=True)))
    return found


def _value(role: Role, row: Row) -> Any:
    if role.kind in ("limit", "offset"):
        return _LIMIT if role.kind == "limit" else 0
    if role.kind == "configuration":
        return CONFIGURATION
    value = row[role.column]
    if role.kind == "word":
        words = _WORD.findall(str(value))
        return max(words, key=len) if words else "nothing"
    if role.kind == "pattern":
        return f"{str(value)[:3]}%"
    if role.kind == "array":
        return [value]
    return _member(value) if role.kind == "member" or isinstance(value, (dict, list)) else value


def _member(value: Any) -> str:
    """Return, as JSON, the first key of an object with its value; else the whole."""
    told = json.loads(value) if isinstance(value, str) else value
    return json.dumps(dict(list(told.items())[:1]) if isinstance(told, dict) else told)
