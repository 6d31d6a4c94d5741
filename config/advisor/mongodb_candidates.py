"""Which indexes of MongoDB would serve a lookup, and the line by which a document declares one."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.advisor.mongodb_profiler import Document, Lookup

_KEYS_MAX: Final = 4
_EQUAL: Final = ("$eq", "$in")
_BOUNDS: Final = ("$gt", "$gte", "$lt", "$lte")

Part = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class MongoIndex:
    """An index that might be made; equal of its fields, the first ones, are compared by =."""

    collection: str
    keys: tuple[Part, ...]
    collation: tuple[tuple[str, Any], ...] = ()
    equal: int = 0

    @property
    def name(self) -> str:
        words = "_".join(re.sub(r"\W+", "_", field) for field, _ in self.keys)
        return f"{words}_collated" if self.collation else words

    @property
    def text(self) -> str:
        inner = ", ".join(f"{field}: {side}" for field, side in self.keys)
        return f"{self.collection} {{{inner}}}"

    @property
    def options(self) -> dict[str, Any]:
        return {"collation": dict(self.collation)} if self.collation else {}

    @property
    def line(self) -> str:
        """The index as meta["indexes"] of a mongoengine document has it."""
        fields = [f"-{field}" if side == -1 else field for field, side in self.keys]
        told = repr({"name": self.name, "fields": fields, **self.options})
        return told.replace("'", '"') + ","


def for_lookup(lookup: Lookup) -> Iterator[MongoIndex]:
    """Yield what would serve it: fields compared by =, then those sorted by, then those bounded."""
    equal, bounded = _compared(lookup.match)
    known = set(equal)
    sort = [(field, int(side)) for field, side in lookup.sort.items() if field not in known]
    known |= {field for field, _ in sort}
    after = [(field, 1) for field in bounded if field not in known][:1]
    first = [(field, 1) for field in equal][:_KEYS_MAX]
    alone = [(field, 1) for field in bounded if field not in equal][:1]
    collation = tuple(sorted((lookup.collation or {}).items()))
    accesses = ((*first, *sort, *after), (*first, *sort), (*first, *alone), tuple(first))
    for keys in dict.fromkeys(accesses):
        if keys and len(keys) <= _KEYS_MAX and keys != (("_id", 1),):
            yield MongoIndex(
                collection=lookup.collection,
                keys=keys,
                collation=collation,
                equal=len(first),
            )


def served_by(wanted: MongoIndex, known: Mapping[str, Any]) -> str | None:
    """Return an index that is there and does what this one would; None where there is none."""
    length = len(wanted.keys)
    compared = {field for field, _ in wanted.keys[: wanted.equal]}
    for name, told in known.items():
        if told.get("hidden") or "partialFilterExpression" in told:
            continue
        if not _same_collation(wanted, told.get("collation")):
            continue
        keys = [(field, side) for field, side in told["key"]]
        begins = tuple(keys[:length])
        backwards = tuple((field, -side) for field, side in begins if isinstance(side, int))
        if wanted.keys in (begins, backwards):
            return name
        is_unique = told.get("unique") or name == "_id_"
        if is_unique and {field for field, _ in keys} <= compared:
            return name
    return None


def _same_collation(wanted: MongoIndex, told: Document | None) -> bool:
    """Whether an index compares alike; it tells its collation with all that is left at defaults."""
    if told is None or not wanted.collation:
        return told is None and not wanted.collation
    return all(told.get(name) == value for name, value in wanted.collation)


def _compared(match: Document) -> tuple[list[str], list[str]]:
    """Return the fields compared by =, and those bounded, of all that must hold."""
    equal: dict[str, None] = {}
    bounded: dict[str, None] = {}
    for field, condition in _conditions(match):
        if not isinstance(condition, Mapping) or any(name in condition for name in _EQUAL):
            equal[field] = None
        elif any(name in condition for name in _BOUNDS):
            bounded[field] = None
    return list(equal), [field for field in bounded if field not in equal]


def _conditions(match: Document) -> Iterator[tuple[str, Any]]:
    for field, condition in match.items():
        if field == "$and":
            parts: Sequence[Document] = condition
            for part in parts:
                yield from _conditions(part)
        elif not field.startswith("$"):
            yield field, condition
