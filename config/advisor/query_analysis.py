"""What a statement asks of an index: which keys it compares, sorts by and bounds, by table."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from config.observability.statements import STATEMENT_CHARACTERS, numbered

# Of the text searches: a placeholder in its place was this one; see notes.models.TitleVector.
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


class NotUnderstood(Exception):
    """Why nothing is made of a statement, in words."""


@dataclass(frozen=True)
class Key:
    """A part of an index: a column, or an expression over columns, as SQL has it."""

    sql: str
    columns: tuple[str, ...]
    is_column: bool
    descending: bool = False


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one SELECT asks of the indexes of one table."""

    table: str
    equal: tuple[Key, ...] = ()
    sort: tuple[Key, ...] = ()
    bounded: tuple[Key, ...] = ()
    contained: tuple[Key, ...] = ()  # what an inverted index answers: words, members


@dataclass(frozen=True)
class Role:
    """What stands in a placeholder's place, and the column that it has to do with."""

    kind: Kind
    table: str = ""
    column: str = ""


@dataclass(frozen=True)
class Asked:
    """A statement taken apart: its needs, and the roles of its placeholders in their order."""

    needs: tuple[Need, ...]
    roles: tuple[Role, ...]


@dataclass
class _Found:
    equal: list[Key] = field(default_factory=list)
    bounded: list[Key] = field(default_factory=list)
    contained: list[Key] = field(default_factory=list)


def asked(statement: str) -> Asked:
    """Take a shape apart. Raises NotUnderstood where it is no one SELECT that writes nothing."""
    tree = _tree(statement)
    tables: dict[int, str] = {}  # of each column, by its identity in the tree
    needs: list[Need] = []
    for scope in traverse_scope(tree):
        sources = {
            name: source.name
            for name, source in scope.sources.items()
            if isinstance(source, exp.Table)
        }
        for column in scope.columns:
            if column.parent_select is scope.expression:
                tables[id(column)] = _table_of(column, sources)
        needs += _needs(scope, sources)
    count = len(_NUMBER.findall(numbered(statement)))
    found = dict(_roles(tree, tables))
    missing = [number for number in range(1, count + 1) if number not in found]
    if missing:
        raise NotUnderstood(f"what value ${missing[0]} had cannot be told")
    return Asked(tuple(needs), tuple(found[number] for number in range(1, count + 1)))


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
        raise NotUnderstood("it is too long to have been kept whole")
    try:
        trees = sqlglot.parse(numbered(statement), dialect="postgres")
    except SqlglotError as exc:
        raise NotUnderstood(str(exc).splitlines()[0]) from exc
    if len(trees) != 1 or not isinstance(trees[0], exp.Query) or trees[0].find(*_WRITES):
        raise NotUnderstood("it is no SELECT")
    return trees[0]


def _table_of(column: exp.Expr, sources: Mapping[str, str]) -> str:
    if column.table:  # type: ignore[attr-defined]  # of exp.Column
        return sources.get(column.table, "")  # type: ignore[attr-defined]
    return next(iter(sources.values())) if len(sources) == 1 else ""


def _needs(scope: Scope, sources: Mapping[str, str]) -> Iterator[Need]:
    select = scope.expression
    if not isinstance(select, exp.Select):
        return
    found: dict[str, _Found] = {table: _Found() for table in sources.values()}
    for condition in _conditions(select):
        _sort_in(condition, sources, found)
    sort = _sort(select, sources)
    for table, one in found.items():
        yield Need(
            table=table,
            equal=_distinct(one.equal),
            sort=sort.get(table, ()),
            bounded=_distinct(one.bounded),
            contained=_distinct(one.contained),
        )


def _conditions(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield what must hold, all of it: of WHERE, and of the joins."""
    where = select.args.get("where")
    wholes = [] if where is None else [where.this]
    wholes += [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on")]
    for whole in wholes:
        plain = whole.unnest()
        parts = plain.flatten() if isinstance(plain, exp.And) else (plain,)
        for part in parts:
            yield part.unnest()


def _sort_in(condition: exp.Expr, sources: Mapping[str, str], found: dict[str, _Found]) -> None:
    """Put the keys of one condition where an index would have them."""
    if isinstance(condition, exp.MatchAgainst):  # the vector comes second in the tree
        for side in (*condition.expressions, condition.this):
            _add(side, sources, {table: one.contained for table, one in found.items()})
    elif isinstance(condition, exp.ArrayContainsAll):
        _add(condition.this, sources, {table: one.contained for table, one in found.items()})
    elif isinstance(condition, (exp.EQ, exp.In, exp.Is)):
        for side in (condition.this, condition.args.get("expression")):
            _add(side, sources, {table: one.equal for table, one in found.items()})
    elif isinstance(condition, (*_BOUNDS, exp.Between)):
        for side in (condition.this, condition.args.get("expression")):
            _add(side, sources, {table: one.bounded for table, one in found.items()})


def _add(side: exp.Expr | None, sources: Mapping[str, str], to: dict[str, list[Key]]) -> None:
    made = None if side is None else _key(side, sources)
    if made is not None:
        table, key = made
        to[table].append(key)


def _key(side: exp.Expr, sources: Mapping[str, str]) -> tuple[str, Key] | None:
    """Return a side of a comparison as a key of a table; None where it is none."""
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
    return tables.pop(), Key(plain.sql("postgres"), names, isinstance(plain, exp.Column))


def _sort(select: exp.Select, sources: Mapping[str, str]) -> dict[str, tuple[Key, ...]]:
    """Return the keys that rows are sorted by, where they are all of one table."""
    order = select.args.get("order")
    if order is None or select.args.get("group") or select.args.get("distinct"):
        return {}
    keys: list[tuple[str, Key]] = []
    for one in order.expressions:
        by = one.this
        if isinstance(by, exp.Literal) and not by.is_string:  # ORDER BY 5
            by = select.expressions[int(by.this) - 1].unalias()
        made = _key(by, sources)
        if made is None:
            return {}
        table, key = made
        descending = bool(one.args.get("desc"))
        keys.append((table, Key(key.sql, key.columns, key.is_column, descending)))
    tables = {table for table, _ in keys}
    return {tables.pop(): tuple(key for _, key in keys)} if len(tables) == 1 else {}


def _distinct(keys: list[Key]) -> tuple[Key, ...]:
    return tuple(dict.fromkeys(keys))


def _roles(tree: exp.Expr, tables: Mapping[int, str]) -> Iterator[tuple[int, Role]]:
    """Yield the number of each placeholder whose role can be told, and the role."""
    for parameter in tree.find_all(exp.Parameter):
        role = _role(parameter, tables)
        if role is not None:
            yield int(parameter.this.this), role


def _role(parameter: exp.Expr, tables: Mapping[int, str]) -> Role | None:
    if parameter.parent is not None and _is_configuration(parameter.parent):
        return Role("configuration")
    around = parameter.find_ancestor(exp.Limit, exp.Offset, exp.Fetch, *_COMPARISONS)
    if isinstance(around, exp.Offset):
        return Role("offset")
    if isinstance(around, (exp.Limit, exp.Fetch)):
        return Role("limit")
    column = None if around is None else around.find(exp.Column)
    table = "" if column is None else tables.get(id(column), "")
    if column is None or not table:
        return None
    is_array = parameter.find_ancestor(exp.Any) is not None
    return Role("array" if is_array else _kind(around), table, column.name)


def _kind(comparison: exp.Expr | None) -> Kind:
    if isinstance(comparison, exp.MatchAgainst):
        return "word"
    if isinstance(comparison, exp.ArrayContainsAll):
        return "member"
    return "pattern" if isinstance(comparison, (exp.Like, exp.ILike)) else "value"


def _is_configuration(node: exp.Expr) -> bool:
    return isinstance(node, exp.Cast) and node.to.sql("postgres").upper() == "REGCONFIG"
