"""Which MongoDB indexes would serve a lookup, and how a document declares each."""

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
class MongoCandidate:
    """A possible index. Its first `equal` fields are compared for equality."""

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
        """The index as declared in meta["indexes"] of a mongoengine document."""
        fields = [f"-{field}" if side == -1 else field for field, side in self.keys]
        source = repr({"name": self.name, "fields": fields, **self.options})
        return source.replace("'", '"') + ","


def candidates_for(lookup: Lookup) -> Iterator[MongoCandidate]:
    """Yield the indexes that would serve it: equality fields, then sort fields, then ranges."""
    equal, bounded = _compared(lookup.match)
    known = set(equal)
    sort = [(field, int(side)) for field, side in lookup.sort.items() if field not in known]
    known |= {field for field, _ in sort}
    after = [(field, 1) for field in bounded if field not in known][:1]
    first = [(field, 1) for field in equal][:_KEYS_MAX]
    sides = dict(sort)  # a range is served by either side, the sort by its own
    alone = [(field, sides.get(field, 1)) for field in bounded if field not in equal][:1]
    collation = tuple(sorted((lookup.collation or {}).items()))
    accesses = ((*first, *sort, *after), (*first, *sort), (*first, *alone), tuple(first))
    for keys in dict.fromkeys(accesses):
        if keys and len(keys) <= _KEYS_MAX and keys != (("_id", 1),):
            yield MongoCandidate(
                collection=lookup.collection,
                keys=keys,
                collation=collation,
                equal=len(first),
            )


def find_serving_index(candidate: MongoCandidate, known: Mapping[str, Any]) -> str | None:
    """Return an existing index that serves in the candidate's place; None if there is none."""
    length = len(candidate.keys)
    compared = {field for field, _ in candidate.keys[: candidate.equal]}
    for name, index in known.items():
        if index.get("hidden") or "partialFilterExpression" in index:
            continue
        if not _same_collation(candidate, index.get("collation")):
            continue
        keys = [(field, side) for field, side in index["key"]]
        begins = tuple(keys[:length])
        backwards = tuple((field, -side) for field, side in begins if isinstance(side, int))
        if candidate.keys in (begins, backwards):
            return name
        is_unique = index.get("unique") or name == "_id_"
        if is_unique and {field for field, _ in keys} <= compared:
            return name
    return None


def _same_collation(candidate: MongoCandidate, collation: Document | None) -> bool:
    """Whether both have the same collation. An index reports its collation with all defaults."""
    if collation is None or not candidate.collation:
        return collation is None and not candidate.collation
    return all(collation.get(name) == value for name, value in candidate.collation)


def _compared(match: Document) -> tuple[list[str], list[str]]:
    """Return the fields with an equality condition, and those with a range."""
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
