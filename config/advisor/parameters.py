"""
Values for recorded statements, whose own values are not kept: read from rows of the tables.

Within a run all values come from one row of each table, so they belong together. The rows are
spread over the table, so a user with many rows is queried in proportion.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from django.db import connections

from config.advisor.query_analysis import (
    CONFIGURATION,
    Placeholder,
    QueryAnalysis,
    UnsupportedStatement,
)
from config.explain.postgres_plans import SqlStatement
from config.explain.sandbox import quote_name
from config.postgres import replica

ROWS: Final = 3
_LIMIT: Final = 21  # the default page length and one more
_WORD: Final = re.compile(r"[^\W\d_]{3,}")

Row = Mapping[str, Any]


def sample_rows(tables: Sequence[str]) -> dict[str, list[Row]]:
    """Return ROWS rows of each table, spread over it; none of an empty table."""
    return {table: replica.run(partial(_spread, table)) for table in tables}


def bind_parameters(
    statement: str, analysis: QueryAnalysis, rows: Mapping[str, Sequence[Row]]
) -> list[SqlStatement]:
    """Return the statement with values bound, once per row. Raises UnsupportedStatement."""
    tables = {role.table for role in analysis.placeholders if role.table}
    unknown = [table for table in tables if not rows.get(table)]
    if unknown:
        raise UnsupportedStatement(
            f"the table {unknown[0]} is empty, so there are no values to run it with"
        )
    count = ROWS if tables else 1
    return [
        SqlStatement(
            statement.replace(", ...", ""),
            tuple(
                _value(role, rows[role.table][number] if role.table else {})
                for role in analysis.placeholders
            ),
        )
        for number in range(count)
    ]


def _spread(table: str, using: str) -> list[Row]:
    name = quote_name(table)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {name}")  # noqa: S608  # a name of the database's own
        count = int(cursor.fetchone()[0])
        if not count:
            return []
        rows: list[Row] = []
        for number in range(ROWS):
            at = min(count - 1, count * (2 * number + 1) // (2 * ROWS))
            cursor.execute(f"SELECT * FROM {name} OFFSET %s LIMIT 1", [at])  # noqa: S608
            names = [column.name for column in cursor.description]
            rows.append(dict(zip(names, cursor.fetchone(), strict=True)))
    return rows


def _value(role: Placeholder, row: Row) -> Any:
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
    """Return as JSON the first key of an object with its value, or any other value whole."""
    member_value = json.loads(value) if isinstance(value, str) else value
    return json.dumps(
        dict(list(member_value.items())[:1]) if isinstance(member_value, dict) else member_value
    )
