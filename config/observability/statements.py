"""Statements without their values: their shape, their fingerprint, their comment."""

import hashlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from config.tracing import Step

STATEMENT_CHARACTERS: Final = 2_000
COMMENT: Final = " /*"  # begins what is appended to a statement
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._~:/+=@-]")  # could end a comment, or be a placeholder

# In the order in which they are tried. Names in quotes may look like anything. LIMIT, OFFSET, the
# columns to sort and group by, and the configuration of a text search are nobody's data, and
# decide the plan. What is not terminated extends to the end, as PostgreSQL reads it: searching the
# end of each opening again would take quadratic time.
_SQL: Final = re.compile(
    r"""
      (?P<verbatim> "(?:[^"]|"")*" | %% | '[a-z_]{1,30}'::regconfig | \b(?:LIMIT|OFFSET)\s+\d+\b
        | \b\d{1,2}\s+(?:ASC|DESC)\b | \bGROUP\s+BY\s+\d{1,2}\b(?:\s*,\s*\d{1,2}\b)* )
    | (?P<comment> /\*.*?(?:\*/|\Z) | --[^\n]* )
    | (?P<value>
        e'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z) | '.*
        | %s | %\(\w+\)s | (?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?\b )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_SEVERAL: Final = re.compile(r"\(\s*%s(?:\s*,\s*%s)+\s*\)")
_SEVERAL_ROWS: Final = re.compile(r"\((?:%s(?:, \.\.\.)?)\)(?:\s*,\s*\(%s(?:, \.\.\.)?\))+")
_MARKED: Final = re.compile(r"%%|%s")
_BOUND: Final = re.compile(r"\b(LIMIT|OFFSET)\s+\d+\b", re.IGNORECASE)

# The parts of a MongoDB command that make its shape, and those that are lists of writes.
_SHAPING: Final = ("filter", "query", "q", "key", "sort", "projection", "pipeline", "limit", "skip")
_LISTS: Final = ("updates", "deletes")
_DEPTH_MAX: Final = 8


def comment(endpoint: str, request_id: str | None = None) -> str:
    """Return an SQL comment, in the form of sqlcommenter, that names the endpoint, and the request, of a statement."""
    named = {"endpoint": endpoint} | ({} if request_id is None else {"request_id": request_id})
    pairs = ",".join(f"{name}='{_UNSAFE.sub('_', value)}'" for name, value in named.items())
    return f"{COMMENT}{pairs}*/"


def kind(step: Step) -> str:
    """Return the first word: SELECT, find, look; for a wait, "wait"."""
    if step.store == "mongodb":
        return str(next(iter(step.statement), ""))
    words = sql_shape(step.statement) if step.store == "postgres" else str(step.statement)
    return words.split(" ", 1)[0]


def described(step: Step) -> str:
    """Return the statement with placeholders in place of all values."""
    if step.store == "mongodb":
        return command_shape(step.statement)[:STATEMENT_CHARACTERS]
    text = sql_shape(step.statement) if step.store == "postgres" else str(step.statement)
    return text[:STATEMENT_CHARACTERS]


def fingerprint(store: str, statement: str) -> str:
    """Return 12 hexadecimal digits that are the same for statements of one shape."""
    shape = _BOUND.sub(r"\1 %s", statement) if store == "postgres" else statement
    return hashlib.blake2b(f"{store} {shape}".encode(), digest_size=6).hexdigest()


def sql_shape(sql: Any) -> str:
    """
    Return SQL with %s for each value, in one line, without comments; LIMIT and OFFSET stay.

    Lists of values become (%s, ...), since their length does not change the statement.
    """
    text = _SQL.sub(_without_value, str(sql))
    text = _SEVERAL.sub("(%s, ...)", text)
    text = _SEVERAL_ROWS.sub("(%s, ...), ...", text)
    return " ".join(text.split())


def numbered(statement: str) -> str:
    """Return a shape with $1, $2, ... for its placeholders, one for a list of them."""
    numbers = itertools.count(1)
    return _MARKED.sub(
        lambda match: "%" if match[0] == "%%" else f"${next(numbers)}",
        statement.replace(", ...", ""),
    )


def _without_value(match: re.Match[str]) -> str:
    if match["verbatim"] is not None:
        return match["verbatim"]
    return " " if match["comment"] is not None else "%s"


def command_shape(command: Mapping[str, Any]) -> str:
    """Return a MongoDB command as: find notes {filter: {user_id: ?}, limit: ?}."""
    name = next(iter(command), "")
    target = command.get(name)
    parts = [name, target] if isinstance(target, str) else [name]
    parameters = {key: command[key] for key in _SHAPING if key in command}
    for key in _LISTS:
        if command.get(key):
            parameters[key] = [
                {"q": command[key][0]["q"]}
            ]  # the first of many, without the values that it writes
    return " ".join([*parts, _shape(parameters, 0)] if parameters else parts)


def _shape(value: Any, depth: int) -> str:
    if depth < _DEPTH_MAX:
        if isinstance(value, Mapping):
            inner = ", ".join(f"{key}: {_shape(item, depth + 1)}" for key, item in value.items())
            return f"{{{inner}}}"
        if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
            return f"[{', '.join(_shape(item, depth + 1) for item in value)}]"
    return "?"
