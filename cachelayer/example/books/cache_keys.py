"""What the example caches."""

import msgspec
from cachelayer.namespace import Namespace


class CachedBook(msgspec.Struct, frozen=True):
    isbn: str
    title: str


BOOKS = Namespace(
    name="books",
    pattern="books:{isbn}",
    prefix="books:",
    member="[0-9]{13}",
    example="books:9780000000000",
    tags_of=lambda isbn: (f"book:{isbn}",),
    schema=1,
    value_type=CachedBook,
    ttl_seconds=300,
    absent_ttl_seconds=30,
    holds="one book",
    invalidated_by="create, update and delete of that book",
)
