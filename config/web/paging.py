"""Pages of a list: the position of a cursor, and the links to the adjacent pages."""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

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
