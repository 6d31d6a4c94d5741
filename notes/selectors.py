"""Reads of notes: single notes, and lists by page and by cursor, through the cache."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Q, QuerySet

from cachelayer.http import Representation, represent
from cachelayer.read import CachedRead
from config.web.paging import Side, keyset_page
from notes import cache_keys, records
from notes.models import Note, TitleVector
from notes.paging import MAX_LIMIT, CursorQuery, PageQuery, Position, Sort
from notes.records import NoteRecord

# Django's ORM would take four times as long to build this statement as PostgreSQL to answer it;
# those of lists, which have more shapes, it builds once each (_listing).
_ONE_NOTE: Final = f"SELECT {', '.join(records.FIELDS)} FROM notes WHERE id = %s"  # noqa: S608  # no input


def note_read(*, note_id: UUID) -> CachedRead[Representation]:
    """
    Return how the note is read, ready to send; its value is None where there is none.

    The read raises what the driver raises where PostgreSQL does not answer and there is no cached copy.
    """
    return CachedRead(cache_keys.note(note_id), lambda: _load_note(note_id))


def note_owner(*, note: Representation) -> str:
    """Return the user whose note this is."""
    return records.owner(note)


def note_list_read(*, query: PageQuery | CursorQuery) -> CachedRead[Representation]:
    """
    Return how one page of a list is read, by its number or by keyset.

    On a miss a page by number takes at most 2 statements; one by keyset takes 1, whose cost does
    not grow with depth.
    """
    key = cache_keys.note_list(
        user_id=query.user_id,
        window=query.window,
        filters=query.filters,
        origin=query.to_query_string,
    )
    return CachedRead(key, lambda: load_list(query))


def load_notes(note_ids: Sequence[UUID]) -> list[Representation | None]:
    """Return the notes in the order of the ids, from PostgreSQL: 1 statement."""
    rows = Note.objects.filter(pk__in=note_ids).values_list(*records.FIELDS)
    by_id = {row[0]: records.representation(NoteRecord(*row)) for row in rows}
    return [by_id.get(note_id) for note_id in note_ids]


def load_list(query: PageQuery | CursorQuery) -> Representation:
    """Return one page of a list, from PostgreSQL."""
    return _load_cursor_page(query) if isinstance(query, CursorQuery) else _load_page(query)


def notes_of_user(
    *, user_id: str, run: Callable[[Callable[[str], Any]], Any]
) -> Iterator[NoteRecord]:
    """
    Yield every note of the user, newest first, past the cache: 1 statement for each 100 of them.

    run calls a function with the alias of the database that it reads. A note that is written meanwhile may be missing, or be its previous version.
    """
    query = CursorQuery(user_id=user_id, limit=MAX_LIMIT)
    while rows := run(partial(_cursor_notes, query)):
        yield from rows
        last = rows[-1]
        position = Position(value=last.created_at.isoformat(), note_id=str(last.id), side="after")
        query = replace(query, position=position)


def note_count(*, user_id: str | None = None, using: str = DEFAULT_DB_ALIAS) -> int:
    """Return the number of notes, of one user or of all; reads the whole range of an index."""
    return _matching(PageQuery(user_id=user_id)).using(using).count()


def notes_exist() -> bool:
    """Return whether there is any note."""
    return Note.objects.exists()


def note_search(*, rows: QuerySet[Note], text: str) -> QuerySet[Note]:
    """Return the rows whose title has the words, or the row with this id, or those of user:NAME."""
    term = text.strip()
    if not term:
        return rows
    if term.startswith("user:"):
        return rows.filter(user_id=term.removeprefix("user:"))
    try:
        return rows.filter(pk=UUID(term))
    except ValueError:
        return _with_words(rows, term)


def page_rows(query: PageQuery) -> QuerySet[Note, Any]:
    """Return the statement of a page and one more note, which shows whether there is a next page."""
    offset = (query.page - 1) * query.limit
    ordered = _matching(query).order_by(*_order(query.sort))
    return ordered.values_list(*records.FIELDS)[offset : offset + query.limit + 1]


def cursor_rows(query: CursorQuery) -> QuerySet[Note, Any]:
    """Return the statement of a page by keyset and one more note; backwards before a position."""
    at = query.position
    backwards = at is not None and at.is_backwards
    rows = Note.objects.order_by(*_order(query.sort, backwards=backwards))
    if query.user_id is not None:
        rows = rows.filter(user_id=query.user_id)
    if at is not None:
        rows = rows.filter(_beyond(query.sort, at, descending=query.sort.descending != backwards))
    return rows.values_list(*records.FIELDS)[: query.limit + 1]


def _cursor_notes(query: CursorQuery, using: str) -> list[NoteRecord]:
    return [NoteRecord(*row) for row in cursor_rows(query).using(using)]


def _load_note(note_id: UUID) -> Representation | None:
    with connection.cursor() as cursor:
        cursor.execute(_ONE_NOTE, [note_id])
        row = cursor.fetchone()
    return None if row is None else records.representation(NoteRecord(*row))


@lru_cache(maxsize=256)
def _listing(query: PageQuery) -> tuple[str, str]:
    """
    Return the statements of a page and of its count; query.user_id: None or "".

    Their one parameter, where there is a user, is the user_id.
    """
    rows, _ = page_rows(query).query.sql_with_params()
    condition = "" if query.user_id is None else " WHERE user_id = %s"
    return rows, f"SELECT count(*) FROM notes{condition}"  # noqa: S608  # no input


def _page(query: PageQuery) -> tuple[list[NoteRecord], dict[str, int]]:
    """Return the notes of a page and one more, and their count in all, if the query has one."""
    if query.search is not None:
        count = {"count": _matching(query).count()} if query.with_count else {}
        return [NoteRecord(*row) for row in page_rows(query)], count
    parameters = [] if query.user_id is None else [query.user_id]
    rows, count_all = _listing(replace(query, user_id=None if query.user_id is None else ""))
    with connection.cursor() as cursor:
        cursor.execute(rows, parameters)
        notes = [NoteRecord(*row) for row in cursor.fetchall()]
        if not query.with_count:
            return notes, {}
        cursor.execute(count_all, parameters)
        return notes, {"count": cursor.fetchone()[0]}


def _load_page(query: PageQuery) -> Representation:
    notes, figures = _page(query)
    has_next = len(notes) > query.limit
    return represent(
        records.page_head(notes[: query.limit], **figures, page=query.page, limit=query.limit),
        next_query=query.link_to(query.page + 1) if has_next else None,
        previous_query=query.link_to(query.page - 1) if query.page > 1 else None,
    )


def _load_cursor_page(query: CursorQuery) -> Representation:
    notes = [NoteRecord(*row) for row in cursor_rows(query)]
    page = keyset_page(query, notes, partial(_position_at, query.sort))
    return represent(
        records.page_head(page.rows, limit=query.limit),
        next_query=page.next_query,
        previous_query=page.previous_query,
    )


def _position_at(sort: Sort, note: NoteRecord, side: Side) -> Position:
    value = getattr(note, sort.field)
    text = value if isinstance(value, str) else value.isoformat()
    return Position(value=text, note_id=str(note.id), side=side)


def _matching(query: PageQuery) -> QuerySet[Note]:
    rows = Note.objects.all()
    if query.user_id is not None:
        rows = rows.filter(user_id=query.user_id)
    if query.search is not None:
        rows = _with_words(rows, query.search)
    return rows


def _with_words(rows: QuerySet[Note], text: str) -> QuerySet[Note]:
    words = SearchQuery(text, config="english", search_type="websearch")
    return rows.alias(title_vector=TitleVector("title")).filter(title_vector=words)


def _order(sort: Sort, *, backwards: bool = False) -> tuple[str, str]:
    sign = "-" if sort.descending != backwards else ""
    return f"{sign}{sort.field}", f"{sign}id"


def _beyond(sort: Sort, at: Position, *, descending: bool) -> Q:
    """
    Return the notes that follow a position.

    The first condition bounds the index scan, the second leaves out ties already shown.
    """
    value = at.value if sort.field == "title" else records.moment(at.value)
    side = "lt" if descending else "gt"
    id_side = f"{side}e" if at.is_inclusive else side
    return Q(**{f"{sort.field}__{side}e": value}) & (
        Q(**{f"{sort.field}__{side}": value}) | Q(**{f"id__{id_side}": at.note_id})
    )
