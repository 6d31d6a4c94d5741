"""Which columns a statement compares, sorts by and restricts to a range, by table."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from config.observability.statements import STATEMENT_CHARACTERS, numbered

# The text search configuration, in place of its placeholder; see notes.models.TitleVector.
CONFIGURATION: Final = "english"
_NUMBER: Final = re.compile(r"\$\d+")
_WRITES: Final = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into)
_BOUNDS: Final = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_COMPARISONS: Final = (
    *(exp.EQ, exp.NEQ, exp.In, exp.Between, exp.Like, exp.ILike),
    *_BOUNDS,
    *(exp.MatchAgainst, exp.ArrayContainsAll),
)
Kind = Literal["value", "array", "pattern", "word", "member", "configuration", "limit", "offset"]


class UnsupportedStatement(Exception):
    """Why a statement cannot be analyzed or replayed, as text."""


@dataclass(frozen=True)
class IndexKey:
    """An index key: a column, or an expression over columns, as SQL."""

    sql: str
    columns: tuple[str, ...]
    is_column: bool
    descending: bool = False


@dataclass(frozen=True, kw_only=True)
class AccessPattern:
    """How one SELECT accesses one table: its equality, sort, range and containment keys."""

    table: str
    equal: tuple[IndexKey, ...] = ()
    sort: tuple[IndexKey, ...] = ()
    bounded: tuple[IndexKey, ...] = ()
    contained: tuple[IndexKey, ...] = ()  # what a GIN index serves: words, JSON members


@dataclass(frozen=True)
class Placeholder:
    """The kind of value that a placeholder stands for, and the column it is compared with."""

    kind: Kind
    table: str = ""
    column: str = ""


@dataclass(frozen=True)
class QueryAnalysis:
    """The access patterns of a statement, and its placeholders in order."""

    patterns: tuple[AccessPattern, ...]
    placeholders: tuple[Placeholder, ...]


@dataclass
class _KeysByUse:
    equal: list[IndexKey] = field(default_factory=list)
    bounded: list[IndexKey] = field(default_factory=list)
    contained: list[IndexKey] = field(default_factory=list)


def analyze(statement: str) -> QueryAnalysis:
    """Analyze a statement. Raises UnsupportedStatement unless it is a single read-only SELECT."""
    tree = _tree(statement)
    tables: dict[int, str] = {}  # of each column, by its id() in the tree
    patterns: list[AccessPattern] = []
    for scope in traverse_scope(tree):
        sources = {
            name: source.name
            for name, source in scope.sources.items()
            if isinstance(source, exp.Table)
        }
        for column in scope.columns:
            if column.parent_select is scope.expression:
                tables[id(column)] = _table_of(column, sources)
        patterns += _access_patterns(scope, sources)
    count = len(_NUMBER.findall(numbered(statement)))
    placeholders = dict(_placeholders(tree, tables))
    missing = [number for number in range(1, count + 1) if number not in placeholders]
    if missing:
        raise UnsupportedStatement(
            f"the purpose of ${missing[0]} is unknown, so it cannot be given a value"
        )
    return QueryAnalysis(
        tuple(patterns), tuple(placeholders[number] for number in range(1, count + 1))
    )


def written_table(statement: str) -> str | None:
    """Return the table that an INSERT or UPDATE writes to; None for any other statement."""
    try:
        tree = sqlglot.parse_one(numbered(statement), dialect="postgres")
    except SqlglotError:
        return None
    if not isinstance(tree, (exp.Insert, exp.Update)):
        return None
    table = tree.find(exp.Table)
    return table.name if table is not None else None


def _tree(statement: str) -> exp.Expr:
    if len(statement) >= STATEMENT_CHARACTERS:
        raise UnsupportedStatement("it was too long to be recorded whole")
    try:
        trees = sqlglot.parse(numbered(statement), dialect="postgres")
    except SqlglotError as exc:
        raise UnsupportedStatement(str(exc).splitlines()[0]) from exc
    if len(trees) != 1 or not isinstance(trees[0], exp.Query) or trees[0].find(*_WRITES):
        raise UnsupportedStatement("it is not a SELECT")
    return trees[0]


def _table_of(column: exp.Expr, sources: Mapping[str, str]) -> str:
    if column.table:  # type: ignore[attr-defined]  # of exp.Column
        return sources.get(column.table, "")  # type: ignore[attr-defined]
    return next(iter(sources.values())) if len(sources) == 1 else ""


def _access_patterns(scope: Scope, sources: Mapping[str, str]) -> Iterator[AccessPattern]:
    select = scope.expression
    if not isinstance(select, exp.Select):
        return
    keys: dict[str, _KeysByUse] = {table: _KeysByUse() for table in sources.values()}
    for condition in _conditions(select):
        _sort_in(condition, sources, keys)
    sort = _sort(select, sources)
    for table, uses in keys.items():
        yield AccessPattern(
            table=table,
            equal=_distinct(uses.equal),
            sort=sort.get(table, ()),
            bounded=_distinct(uses.bounded),
            contained=_distinct(uses.contained),
        )


def _conditions(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield the conditions that must all hold, of WHERE and of the joins."""
    where = select.args.get("where")
    wholes = [] if where is None else [where.this]
    wholes += [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on")]
    for whole in wholes:
        plain = whole.unnest()
        parts = plain.flatten() if isinstance(plain, exp.And) else (plain,)
        for part in parts:
            yield part.unnest()


def _sort_in(condition: exp.Expr, sources: Mapping[str, str], keys: dict[str, _KeysByUse]) -> None:
    """Add the keys of a condition to those of its kind."""
    if isinstance(condition, exp.MatchAgainst):  # sqlglot puts the vector second
        for side in (*condition.expressions, condition.this):
            _add(side, sources, {table: uses.contained for table, uses in keys.items()})
    elif isinstance(condition, exp.ArrayContainsAll):
        _add(condition.this, sources, {table: uses.contained for table, uses in keys.items()})
    elif isinstance(condition, (exp.EQ, exp.In, exp.Is)):
        for side in (condition.this, condition.args.get("expression")):
            _add(side, sources, {table: uses.equal for table, uses in keys.items()})
    elif isinstance(condition, (*_BOUNDS, exp.Between)):
        for side in (condition.this, condition.args.get("expression")):
            _add(side, sources, {table: uses.bounded for table, uses in keys.items()})


def _add(side: exp.Expr | None, sources: Mapping[str, str], to: dict[str, list[IndexKey]]) -> None:
    located = None if side is None else _key(side, sources)
    if located is not None:
        table, key = located
        to[table].append(key)


def _key(side: exp.Expr, sources: Mapping[str, str]) -> tuple[str, IndexKey] | None:
    """Return one side of a comparison as a key with its table; None if it is none."""
    plain = side.unnest().copy()
    columns = list(plain.find_all(exp.Column))
    tables = {_table_of(column, sources) for column in columns}
    if len(tables) != 1 or tables == {""} or plain.find(exp.Query):
        return None
    for cast in list(plain.find_all(exp.Cast)):
        if _is_configuration(cast) and isinstance(cast.this, exp.Parameter):
            cast.set("this", exp.Literal.string(CONFIGURATION))
    if plain.find(exp.Parameter):
        return None
    for column in columns:
        column.set("table", None)
        column.this.set("quoted", True)
    names = tuple(dict.fromkeys(column.name for column in columns))
    return tables.pop(), IndexKey(plain.sql("postgres"), names, isinstance(plain, exp.Column))


def _sort(select: exp.Select, sources: Mapping[str, str]) -> dict[str, tuple[IndexKey, ...]]:
    """Return the sort keys, if all belong to one table."""
    order = select.args.get("order")
    if order is None or select.args.get("group") or select.args.get("distinct"):
        return {}
    keys: list[tuple[str, IndexKey]] = []
    for term in order.expressions:
        by = term.this
        if isinstance(by, exp.Literal) and not by.is_string:  # ORDER BY 5
            by = select.expressions[int(by.this) - 1].unalias()
        located = _key(by, sources)
        if located is None:
            return {}
        table, key = located
        descending = bool(term.args.get("desc"))
        keys.append((table, IndexKey(key.sql, key.columns, key.is_column, descending)))
    tables = {table for table, _ in keys}
    return {tables.pop(): tuple(key for _, key in keys)} if len(tables) == 1 else {}


def _distinct(keys: list[IndexKey]) -> tuple[IndexKey, ...]:
    return tuple(dict.fromkeys(keys))


def _placeholders(tree: exp.Expr, tables: Mapping[int, str]) -> Iterator[tuple[int, Placeholder]]:
    """Yield each placeholder whose kind is known, with its number."""
    for parameter in tree.find_all(exp.Parameter):
        role = _placeholder(parameter, tables)
        if role is not None:
            yield int(parameter.this.this), role


def _placeholder(parameter: exp.Expr, tables: Mapping[int, str]) -> Placeholder | None:
    if parameter.parent is not None and _is_configuration(parameter.parent):
        return Placeholder("configuration")
    around = parameter.find_ancestor(exp.Limit, exp.Offset, exp.Fetch, *_COMPARISONS)
    if isinstance(around, exp.Offset):
        return Placeholder("offset")
    if isinstance(around, (exp.Limit, exp.Fetch)):
        return Placeholder("limit")
    column = None if around is None else around.find(exp.Column)
    table = "" if column is None else tables.get(id(column), "")
    if column is None or not table:
        return None
    is_array = parameter.find_ancestor(exp.Any) is not None
    return Placeholder("array" if is_array else _kind(around), table, column.name)


def _kind(comparison: exp.Expr | None) -> Kind:
    if isinstance(comparison, exp.MatchAgainst):
        return "word"
    if isinstance(comparison, exp.ArrayContainsAll):
        return "member"
    return "pattern" if isinstance(comparison, (exp.Like, exp.ILike)) else "value"


def _is_configuration(node: exp.Expr) -> bool:
    return isinstance(node, exp.Cast) and node.to.sql("postgres").upper() == "REGCONFIG"
