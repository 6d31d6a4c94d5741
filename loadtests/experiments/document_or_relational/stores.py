"""The interface of both stores, with the same durability."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loadtests.experiments.document_or_relational.documents import Document

SCRATCH = "lab_documents"  # a collection and a table, dropped at the end
SCRATCH_NOTES = "lab_notes"


@dataclass(frozen=True)
class Durability:
    """What the server reports that it does with a write before it answers."""

    settings: tuple[tuple[str, str], ...]
    holds: bool  # a write is on the disk when it is answered


@dataclass(frozen=True)
class FilterPlan:
    """How a filter on the nested key ran."""

    index: str
    matched: int
    examined: int  # documents or rows that were read for it
    index_bytes: int


@dataclass(frozen=True)
class SizeOnDisk:
    """Bytes on disk, after a checkpoint."""

    data: int
    indexes: int


class Store(Protocol):
    """A server with scratch space. Every write is on the disk when it returns, unless wait_for_disk is off."""

    name: str

    def wait_for_disk(self, wait: bool) -> None:
        """Wait for the disk with each write from now on, or leave it to the server when to write."""

    def durability(self) -> Durability:
        """Read the settings back from the server."""

    def written_bytes(self) -> int:
        """Return the bytes written to the log (WAL, journal) since the server started."""

    def syncs(self) -> int:
        """Return the number of log syncs since the server started."""

    def fill(self, sample: Sequence[Document]) -> None:
        """Replace the contents of the scratch space by these documents."""

    def drop(self) -> None:
        """Leave nothing behind."""

    def read(self, user_id: str) -> Document:
        """Return the document."""

    def insert(self, document: Document) -> None:
        """Add one document."""

    def update_nested(self, user_id: str, value: int) -> None:
        """Set the value deep in the document, in one command."""

    def replace(self, user_id: str, document: Document) -> None:
        """Replace the document."""

    def index_nested(self, kind: str) -> None:
        """Create an index on the nested key; kind is one of index_kinds."""

    def unindex_nested(self, kind: str) -> None:
        """Drop that index."""

    @property
    def index_kinds(self) -> tuple[str, ...]:
        """The kinds of index that the store offers for a nested key."""

    def filter_nested(self, value: int, kind: str) -> int:
        """Return how many documents have the value, by a query that an index of that kind supports."""

    def explain_nested(self, value: int, kind: str) -> FilterPlan:
        """Return how that filter runs."""

    def add_field(self, name: str) -> int:
        """Write a field into every document, in one command; return how many have it."""

    def count_with_default(self, name: str) -> int:
        """Return how many documents show the field by its default, without having it."""

    def size(self) -> SizeOnDisk:
        """Return the bytes that the scratch space takes on disk."""

    def count_notes(self) -> dict[str, int]:
        """Return the number of notes of each of the service's profiles: a join and a count."""

    def summarize_notes(self) -> dict[str, tuple[int, int]]:
        """Return notes and users by language, of profiles with the dark theme: a filter, a join, a group."""

    def accepts_dangling_note(self) -> bool:
        """Try to store a note without a profile; return whether it was accepted."""
