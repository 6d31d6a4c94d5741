"""Which indexes would serve a need: columns compared by =, then those sorted by, then those bounded."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from django.db import connection

from config.advisor.query_analysis import Key, Need
from config.explain import sandbox
from config.explain.sandbox import quoted

_NAME_CHARACTERS: Final = 30  # of an index of Django's
_KEYS_MAX: Final = 4
_JSON_CLASS: Final = "jsonb_path_ops"
_REVERSED: Final = 3  # the bits of an index's key for DESC and NULLS FIRST
_KEYS: Final = """
SELECT one.relname, pg_am.amname, indisunique, indisvalid AND indpred IS NULL,
       array(SELECT pg_get_indexdef(indexrelid, number, true)
             FROM generate_series(1, indnkeyatts) AS number),
       string_to_array(indclass::text, ' '), string_to_array(indoption::text, ' ')::int[]
FROM pg_index
JOIN pg_class AS one ON one.oid = indexrelid
JOIN pg_am ON pg_am.oid = one.relam
WHERE indrelid = %s::regclass
"""

Part = tuple[str, str, int]  # definition, operator class, options


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An index that might be made."""

    table: str
    method: Literal["btree", "gin"]
    keys: tuple[Key, ...]
    operator_class: str = ""  # of an inverted index, where it is not the default
    equal: int = 0  # so many of the keys, the first ones, are compared by =

    @property
    def name(self) -> str:
        columns = [column for key in self.keys for column in key.columns]
        words = "_".join(dict.fromkeys(["idx", self.table, *columns]))
        if self.method == "gin":
            words += "_gin"
        if len(words) <= _NAME_CHARACTERS and all(key.is_column for key in self.keys):
            return words
        digits = hashlib.blake2b(self.on.encode(), digest_size=3).hexdigest()
        return f"{words[: _NAME_CHARACTERS - 7]}_{digits}"

    @property
    def on(self) -> str:
        """Its method and keys, as CREATE INDEX has them."""
        parts = ", ".join(self._part(key) for key in self.keys)
        return f"USING {self.method} ({parts})"

    @property
    def text(self) -> str:
        """Table and keys, for people."""
        inner = re.sub(r'"', "", self.on.removeprefix("USING btree ").removeprefix("USING "))
        return f"{self.table} {inner}"

    def create(self, table: str | None = None) -> str:
        return f"CREATE INDEX {quoted(self.name)} ON {quoted(table or self.table)} {self.on}"

    def _part(self, key: Key) -> str:
        told = key.sql if key.is_column else f"({key.sql})"
        if self.method == "gin":
            return f"{told} {self.operator_class}".rstrip()
        return f"{told} DESC" if key.descending else told


@dataclass(frozen=True, kw_only=True)
class Existing:
    """An index that is there, or a candidate, as PostgreSQL itself tells of it."""

    name: str
    method: str
    is_unique: bool
    is_whole: bool
    parts: tuple[Part, ...]

    def begins_with(self, other: "Existing") -> bool:
        """Whether it serves in the other's place: as long or longer, in its order or backwards."""
        mine = self.parts[: len(other.parts)]
        if self.method != other.method or not self.is_whole or len(mine) < len(other.parts):
            return False
        backwards = tuple((text, kind, option ^ _REVERSED) for text, kind, option in mine)
        return other.parts == mine or (self.method == "btree" and other.parts == backwards)


def for_need(need: Need, *, json_columns: Iterable[str] = ()) -> Iterator[Candidate]:
    """Yield the indexes that would serve it, the longest first of those for one access."""
    for key in need.contained:
        kind = _JSON_CLASS if key.is_column and key.sql.strip('"') in json_columns else ""
        if not key.is_column or kind:
            yield Candidate(table=need.table, method="gin", keys=(key,), operator_class=kind)
    equal = need.equal[:_KEYS_MAX]
    sort = tuple(key for key in need.sort if not _has(equal, key))
    bounded = tuple(key for key in need.bounded if not _has((*equal, *sort), key))[:1]
    accesses = (
        (*equal, *sort, *bounded),
        (*equal, *sort),
        (*equal, *sort[:1]),  # what comes after it often only settles ties
        (*equal, *bounded),
        equal,
    )
    for keys in dict.fromkeys(accesses):
        if keys and len(keys) <= _KEYS_MAX:
            yield Candidate(table=need.table, method="btree", keys=keys, equal=len(equal))


def existing(table: str) -> list[Existing]:
    """Return the indexes of a table, those of constraints included."""
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, [quoted(table)])
        told = cursor.fetchall()
    return [
        Existing(
            name=name,
            method=method,
            is_unique=is_unique,
            is_whole=is_whole,
            parts=tuple(zip(definitions, classes, options, strict=False)),
        )
        for name, method, is_unique, is_whole, definitions, classes, options in told
    ]


def as_made(candidate: Candidate) -> Existing:
    """
    Return how PostgreSQL would tell of it: by making it on an empty copy of the table.

    Within a transaction that is rolled back. Raises DatabaseError where it cannot be made, such
    as on an expression that is not immutable.
    """
    with sandbox.rolled_back():
        copy = "explain_empty"
        sandbox.run(f"CREATE TEMPORARY TABLE {copy} (LIKE {quoted(candidate.table)})")
        sandbox.run(candidate.create(copy))
        [made] = existing(copy)
    return made


def served_by(candidate: Candidate, made: Existing, there: Sequence[Existing]) -> str | None:
    """Return an index that is there and does what the candidate would; None where there is none."""
    compared = {part[0] for part in made.parts[: candidate.equal]}
    for one in there:
        if one.begins_with(made):
            return one.name
        # One row at the most where all that is unique is given: no other key is of use.
        if one.is_unique and one.is_whole and {part[0] for part in one.parts} <= compared:
            return one.name
    return None


def _has(keys: Sequence[Key], key: Key) -> bool:
    return any(one.sql == key.sql for one in keys)
