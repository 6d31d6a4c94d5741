"""Pages of a list: the position of a cursor, and the links to the adjacent pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from django.core import signing
from django.http import HttpRequest

Side = Literal["after", "before", "from", "until"]
_OTHER_SIDE: Final[dict[Side, Side]] = {
    "after": "until",
    "until": "after",
    "before": "from",
    "from": "before",
}


class CursorRejected(Exception):
    """The cursor was altered, or belongs to another list."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """
    Where a page by cursor begins: on which side of a row that the subclass names.

    from and until include the row: they lead back from a page that deletes have emptied.
    """

    side: Side

    @property
    def is_backwards(self) -> bool:
        """Return whether the page ends here, instead of beginning here."""
        return self.side in ("before", "until")

    @property
    def is_inclusive(self) -> bool:
        """Return whether the row itself belongs to the page."""
        return self.side in ("from", "until")

    def reversed(self) -> Self:
        """Return the position of the page on the other side of this point."""
        return replace(self, side=_OTHER_SIDE[self.side])


PositionT = TypeVar("PositionT", bound=Position)
RowT = TypeVar("RowT")


class KeysetQuery(Protocol[PositionT]):
    """A page by cursor; position None is the start of the list."""

    @property
    def limit(self) -> int: ...

    @property
    def position(self) -> PositionT | None: ...

    def link_to(self, position: PositionT) -> str: ...


class KeysetPage(NamedTuple, Generic[RowT]):
    """The rows of a page in the order of the list, and the query strings of its neighbours or None."""

    rows: list[RowT]
    next_query: str | None
    previous_query: str | None


def keyset_page(
    query: KeysetQuery[PositionT],
    rows: Sequence[RowT],
    position_at: Callable[[RowT, Side], PositionT],
) -> KeysetPage[RowT]:
    """
    Return the page of which rows are the first limit and one more, in the direction of its position.

    Where deletes have emptied the page, the adjacent page is the one that led to it.
    """
    at = query.position
    backwards = at is not None and at.is_backwards
    more = len(rows) > query.limit
    shown = list(rows[: query.limit])
    if backwards:
        shown.reverse()

    def link(edge: list[RowT], side: Side) -> str | None:
        if not edge:
            return None if at is None else query.link_to(at.reversed())
        return query.link_to(position_at(edge[0], side))

    has_next = more or backwards
    has_previous = more if backwards else at is not None
    return KeysetPage(
        shown,
        link(shown[-1:], "after") if has_next else None,
        link(shown[:1], "before") if has_previous else None,
    )


def unsigned(signer: signing.Signer, cursor: str, *, members: int) -> list[Any]:
    """Return the members of the list that sign_object has signed. Raises CursorRejected."""
    try:
        content = signer.unsign_object(cursor)
        if len(content) == members:
            return list(content)
    except (signing.BadSignature, ValueError, TypeError):
        pass  # refused below
    raise CursorRejected("this cursor was not made by this service, or was altered")


def links(
    request: HttpRequest, *, next_query: str | None, previous_query: str | None
) -> dict[str, str | None]:
    """Return the absolute URLs of the next and the previous page, None where there is none."""
    base = request.build_absolute_uri(request.path)
    return {
        "next": None if next_query is None else f"{base}?{next_query}",
        "previous": None if previous_query is None else f"{base}?{previous_query}",
    }


def link_header(urls: dict[str, str | None]) -> str:
    """Return the value of a Link field (RFC 8288); empty without links."""
    return ", ".join(f'<{url}>; rel="{relation}"' for relation, url in urls.items() if url)
