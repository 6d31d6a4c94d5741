"""One page of a list: the query as plain values, and the signed cursor."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core import signing

from config.web import paging

SORT_FIELDS = ("created_at", "updated_at", "title")
DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_PAGE = 2_147_483_647
DEFAULT_SORT = "created_at:DESC"

_signer = signing.Signer(salt="notes.cursor")


@dataclass(frozen=True, kw_only=True)
class Sort:
    """The order of a list: a field and a direction; ties are broken by id in the same direction."""

    field: str = "created_at"
    descending: bool = True

    @property
    def text(self) -> str:
        return f"{self.field}:{'DESC' if self.descending else 'ASC'}"


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """One page by number. user_id and search are None if they do not filter."""

    user_id: str | None = None
    search: str | None = None
    sort: Sort = Sort()
    page: int = 1
    limit: int = DEFAULT_LIMIT
    with_count: bool = True

    @property
    def window(self) -> str:
        """The window's part of a cache key."""
        return f"page:{self.page}:limit:{self.limit}"

    @property
    def filters(self) -> str:
        """The canonical text of all parameters but user and window; empty for the default list."""
        parameters: dict[str, str] = {}
        if self.search is not None:
            parameters["q"] = self.search
        if self.sort.text != DEFAULT_SORT:
            parameters["sort"] = self.sort.text
        if not self.with_count:
            parameters["count"] = "false"
        return urlencode(parameters)

    def to_query_string(self) -> str:
        """Return the query string of this page."""
        return self.link_to(self.page)

    def link_to(self, page: int) -> str:
        """Return the query string of another page of the same list."""
        parameters: dict[str, Any] = {} if self.user_id is None else {"userId": self.user_id}
        if self.search is not None:
            parameters["q"] = self.search
        parameters |= {"page": page, "limit": self.limit, "sort": self.sort.text}
        if not self.with_count:
            parameters["count"] = "false"
        return urlencode(parameters)


@dataclass(frozen=True, kw_only=True)
class Position(paging.Position):
    """Where a page by cursor begins: at the note with this sort value and id."""

    value: str
    note_id: str


@dataclass(frozen=True, kw_only=True)
class CursorQuery:
    """One page by keyset; position None is the start of the list."""

    user_id: str | None = None
    sort: Sort = Sort()
    limit: int = DEFAULT_LIMIT
    position: Position | None = None

    @property
    def window(self) -> str:
        """The window's part of a cache key."""
        return f"cursor:limit:{self.limit}"

    @property
    def filters(self) -> str:
        """The canonical text of the sort and the position."""
        at = self.position
        parameters = {"sort": self.sort.text}
        if at is not None:
            parameters |= {"side": at.side, "value": at.value, "id": at.note_id}
        return urlencode(parameters)

    def to_query_string(self) -> str:
        """Return the query string of this page."""
        return self.link_to(self.position)

    def link_to(self, position: Position | None) -> str:
        """Return the query string of the page at another position of the same list, or its start."""
        parameters: dict[str, Any] = {} if self.user_id is None else {"userId": self.user_id}
        cursor = ""
        if position is not None:
            cursor = _signer.sign_object(
                [self.user_id, self.sort.text, position.side, position.value, position.note_id]
            )
        return urlencode(
            parameters | {"cursor": cursor, "limit": self.limit, "sort": self.sort.text}
        )


def position_of(cursor: str, *, user_id: str | None, sort: Sort) -> Position | None:
    """
    Return where a cursor points; an empty one points to the start (None).

    Raises CursorRejected if it was altered, or made for another user filter or sort.
    """
    if not cursor:
        return None
    made_for, made_sort, side, value, note_id = paging.unsigned(_signer, cursor, members=5)
    if (made_for, made_sort) != (user_id, sort.text):
        raise paging.CursorRejected("this cursor belongs to another userId or sort")
    return Position(value=value, note_id=note_id, side=side)
