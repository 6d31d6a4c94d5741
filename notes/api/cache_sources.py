"""Loads cached notes and pages from PostgreSQL without an HTTP request, for warming and auditing."""

from collections.abc import Sequence
from uuid import UUID

from django.http import QueryDict

from cachelayer.http import Representation
from cachelayer.namespace import Key
from notes import selectors
from notes.api import query

Requested = Sequence[tuple[Key[Representation], str]]


def notes(requested: Requested) -> list[Representation | None]:
    """Return the notes, by one statement."""
    return selectors.load_notes([UUID(key.member) for key, _ in requested])


def lists(requested: Requested) -> list[Representation]:
    """Return the pages, each by the query string from which it was cached."""
    return [selectors.load_list(query.parse_list(QueryDict(origin))) for _, origin in requested]
