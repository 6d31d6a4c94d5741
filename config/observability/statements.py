"""What a statement is, without anybody's values: its shape, its fingerprint, its comment."""

import hashlib
import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from config.observability.tracing import Step

STATEMENT_CHARACTERS: Final = 2_000
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._~:/+=@-]")  # could end a comment, or be a placeholder

# In the order in which they are tried. Names in quotes may look like anything. LIMIT, OFFSET, the
# columns to sort and group by, and the configuration of a text search are no one's data, and
# decide the plan. What is not ended goes on to the end, as PostgreSQL reads it: to look for each
# beginning's end again would take quadratic time.
_SQL: Final = re.compile(
    r"""
      (?P<kept> "(?:[^"]|"")*" | %% | '[a-z_]{1,30}'::regconfig | \b(?:LIMIT|OFFSET)\s+\d+\b
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

# Of a MongoDB command: what tells its shape, and which of it is a document of somebody's.
_SHAPING: Final = ("filter", "query", "q", "key", "sort", "projection", "pipeline", "limit", "skip")
_LISTS: Final = ("updates", "deletes")
_DEPTH_MAX: Final = 8


def comment(endpoint: str, request_id: str) -> str:
    """Return an SQL comment, as sqlcommenter has it, that says for whom a statement runs."""
    told = (_UNSAFE.sub("_", one) for one in (endpoint, request_id))
    return " /*endpoint='{}',request_id='{}'*/".format(*told)


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

    Lists of values are (%s, ...), since their length makes no other statement.
    """
    text = _SQL.sub(_without_value, str(sql))
    text = _SEVERAL.sub("(%s, ...)", text)
    text = _SEVERAL_ROWS.sub("(%s, ...), ...", text)
    return " ".join(text.split())


def numbered(statement: str) -> str:
    """Return a shape with $1, $2, ... for its placeholders, one for a list of them."""
    numbers = itertools.count(1)
    return _MARKED.sub(
        lambda found: "%" if found[0] == "%%" else f"${next(numbers)}",
        statement.replace(", ...", ""),
    )


def _without_value(found: re.Match[str]) -> str:
    if found["kept"] is not None:
        return found["kept"]
    return " " if found["comment"] is not None else "%s"


def command_shape(command: Mapping[str, Any]) -> str:
    """Return a MongoDB command as: find notes {filter: {user_id: ?}, limit: ?}."""
    name = next(iter(command), "")
    target = command.get(name)
    parts = [name, target] if isinstance(target, str) else [name]
    told = {key: command[key] for key in _SHAPING if key in command}
    for key in _LISTS:
        if command.get(key):
            told[key] = [{"q": command[key][0]["q"]}]  # of many, the first; what is written, never
    return " ".join([*parts, _shape(told, 0)] if told else parts)


def _shape(value: Any, depth: int) -> str:
    if depth < _DEPTH_MAX:
        if isinstance(value, Mapping):
            inner = ", ".join(f"{key}: {_shape(one, depth + 1)}" for key, one in value.items())
            return f"{{{inner}}}"
        if isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
            return f"[{', '.join(_shape(one, depth + 1) for one in value)}]"
    return "?"
