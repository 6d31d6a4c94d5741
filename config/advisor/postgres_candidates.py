"""Which indexes would serve an access pattern: equality columns, then sort columns, then ranges."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from django.db import connection

from config.advisor.query_analysis import AccessPattern, IndexKey
from config.explain import sandbox
from config.explain.sandbox import quote_name

_NAME_CHARACTERS: Final = 30  # Django's limit for the name of an index
_KEYS_MAX: Final = 4
_JSON_CLASS: Final = "jsonb_path_ops"
_REVERSED: Final = 3  # the bits for DESC and NULLS FIRST in pg_index.indoption
_KEYS: Final = """
SELECT own.relname, pg_am.amname, indisunique, indisvalid AND indpred IS NULL,
       array(SELECT pg_get_indexdef(indexrelid, number, true)
             FROM generate_series(1, indnkeyatts) AS number),
       string_to_array(indclass::text, ' '), string_to_array(indoption::text, ' ')::int[]
FROM pg_index
JOIN pg_class AS own ON own.oid = indexrelid
JOIN pg_am ON pg_am.oid = own.relam
WHERE indrelid = %s::regclass
ORDER BY indnkeyatts, own.relname -- of two that serve the smaller
"""

Part = tuple[str, str, int]  # definition, operator class, options


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A possible index."""

    table: str
    method: Literal["btree", "gin"]
    keys: tuple[IndexKey, ...]
    operator_class: str = ""  # of a GIN index, where it is not the default
    equal: int = 0  # how many of the first keys are compared for equality

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
        """Its method and keys, as in CREATE INDEX."""
        parts = ", ".join(self._part(key) for key in self.keys)
        return f"USING {self.method} ({parts})"

    @property
    def text(self) -> str:
        """Table and keys, for display."""
        inner = re.sub(r'"', "", self.on.removeprefix("USING btree ").removeprefix("USING "))
        return f"{self.table} {inner}"

    def create(self, table: str | None = None) -> str:
        return (
            f"CREATE INDEX {quote_name(self.name)} ON {quote_name(table or self.table)} {self.on}"
        )

    def _part(self, key: IndexKey) -> str:
        rows = key.sql if key.is_column else f"({key.sql})"
        if self.method == "gin":
            return f"{rows} {self.operator_class}".rstrip()
        return f"{rows} DESC" if key.descending else rows


@dataclass(frozen=True, kw_only=True)
class ExistingIndex:
    """An existing index, or a candidate built on an empty copy, as the catalog describes it."""

    name: str
    method: str
    is_unique: bool
    is_whole: bool
    parts: tuple[Part, ...]

    def begins_with(self, other: "ExistingIndex") -> bool:
        """Whether the other's keys are a prefix of this one's, in the same order or reversed."""
        mine = self.parts[: len(other.parts)]
        if self.method != other.method or not self.is_whole or len(mine) < len(other.parts):
            return False
        backwards = tuple((text, kind, option ^ _REVERSED) for text, kind, option in mine)
        return other.parts == mine or (self.method == "btree" and other.parts == backwards)


def candidates_for(
    pattern: AccessPattern, *, json_columns: Iterable[str] = ()
) -> Iterator[Candidate]:
    """Yield the indexes that would serve it, GIN first, then B-trees from the longest on."""
    for key in pattern.contained:
        kind = _JSON_CLASS if key.is_column and key.sql.strip('"') in json_columns else ""
        if not key.is_column or kind:
            yield Candidate(table=pattern.table, method="gin", keys=(key,), operator_class=kind)
    equal = pattern.equal[:_KEYS_MAX]
    sort = tuple(key for key in pattern.sort if not _has(equal, key))
    bounded = tuple(key for key in pattern.bounded if not _has((*equal, *sort), key))[:1]
    accesses = (
        (*equal, *sort, *bounded),
        (*equal, *sort),
        (*equal, *sort[:1]),  # later sort keys often only break ties
        (*equal, *bounded),
        equal,
    )
    for keys in dict.fromkeys(accesses):
        if keys and len(keys) <= _KEYS_MAX:
            yield Candidate(table=pattern.table, method="btree", keys=keys, equal=len(equal))


def existing_indexes(table: str) -> list[ExistingIndex]:
    """Return the indexes of a table, including those of constraints, those of few columns first."""
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, [quote_name(table)])
        rows = cursor.fetchall()
    return [
        ExistingIndex(
            name=name,
            method=method,
            is_unique=is_unique,
            is_whole=is_whole,
            parts=tuple(zip(definitions, classes, options, strict=False)),
        )
        for name, method, is_unique, is_whole, definitions, classes, options in rows
    ]


def build_on_empty_copy(candidate: Candidate) -> ExistingIndex:
    """
    Return how PostgreSQL describes the candidate, by building it on an empty copy of the table.

    This happens in a transaction that is rolled back. Raises DatabaseError if it cannot be
    built, for example on an expression that is not immutable.
    """
    with sandbox.rolled_back():
        copy = "explain_empty"
        sandbox.execute(f"CREATE TEMPORARY TABLE {copy} (LIKE {quote_name(candidate.table)})")
        sandbox.execute(candidate.create(copy))
        [built] = existing_indexes(copy)
    return built


def find_serving_index(
    candidate: Candidate, built: ExistingIndex, existing: Sequence[ExistingIndex]
) -> str | None:
    """Return an existing index that serves in the candidate's place; None if there is none."""
    compared = {part[0] for part in built.parts[: candidate.equal]}
    for index in existing:
        if index.begins_with(built):
            return index.name
        # All columns of a unique index are compared, so at most one row matches: no other key helps.
        if index.is_unique and index.is_whole and {part[0] for part in index.parts} <= compared:
            return index.name
    return None


def _has(keys: Sequence[IndexKey], key: IndexKey) -> bool:
    return any(index.sql == key.sql for index in keys)
