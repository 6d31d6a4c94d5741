"""Reading and writing books."""

from cachelayer.entries import Cached
from cachelayer.invalidation import invalidate
from cachelayer.read import get_or_load
from django.db import transaction

from books.cache_keys import BOOKS, CachedBook
from books.models import Book


def book_get(*, isbn: str) -> Cached[CachedBook]:
    """Return a book, of value None where there is no such book."""
    return get_or_load(BOOKS.key(isbn), lambda: _load(isbn))


def book_rename(*, isbn: str, title: str) -> None:
    """Give a book another title."""
    with transaction.atomic():
        invalidate(f"book:{isbn}")
        Book.objects.filter(isbn=isbn).update(title=title)


def _load(isbn: str) -> CachedBook | None:
    book = Book.objects.filter(isbn=isbn).first()
    return None if book is None else CachedBook(book.isbn, book.title)
