"""The plan of a statement without its values: EXPLAIN (GENERIC_PLAN), which does not run it."""

import functools
import re
from typing import Any, Final

from django.db import DatabaseError, connections, transaction

from config.observability.statements import numbered
from config.postgres import replica

_VERSION_MIN: Final = 160_000
_TIMEOUT_MS: Final = 2_000
_NAMES: Final = re.compile(r'"(?:[^"]|"")*"')


class NoPlan(Exception):
    """No plan can be shown; the message gives the reason."""


def generic_plan(statement: str) -> str:
    """
    Return the plan of a SELECT in the form of config.observability.statements.sql_shape, one node a line.

    A single value stands for a list of values. Never ANALYZE: the statement is not executed, and the
    transaction can write nothing. Raises NoPlan.
    """
    if not re.match(r"SELECT\b", statement, re.IGNORECASE | re.ASCII):
        raise NoPlan("Only a SELECT can be explained.")
    if ";" in _NAMES.sub("", statement):
        raise NoPlan("There is more than one statement.")
    try:
        return replica.run(functools.partial(_explained, statement))
    except DatabaseError as exc:
        raise NoPlan(f"PostgreSQL says: {str(exc).splitlines()[0]}") from exc


def _explained(statement: str, using: str) -> str:
    connection: Any = connections[using]
    with transaction.atomic(using), connection.cursor() as cursor:
        if connection.pg_version < _VERSION_MIN:
            raise NoPlan("EXPLAIN without values needs PostgreSQL 16.")
        cursor.execute(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {_TIMEOUT_MS}")
        cursor.execute(f"EXPLAIN (GENERIC_PLAN) {numbered(statement)}")
        return "\n".join(line for (line,) in cursor.fetchall())
