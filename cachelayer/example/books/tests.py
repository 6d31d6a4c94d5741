"""What is cached, and what invalidates it."""

from cachelayer.testing import assert_fills, assert_invalidates, isolated_cache
from django.test import TestCase, TransactionTestCase

from books import services
from books.models import Book

ISBN = "9780000000000"


class ReadTests(TransactionTestCase):
    def setUp(self):
        self.enterContext(isolated_cache())
        Book.objects.create(isbn=ISBN, title="old")

    def test_the_first_read_fills_the_cache(self):
        with assert_fills(1):
            first = self.client.get(f"/books/{ISBN}")
        with assert_fills(0), self.assertNumQueries(0):
            second = self.client.get(f"/books/{ISBN}")

        self.assertEqual(first["Cache-Status"], "bookshop; fwd=uri-miss; stored")
        self.assertRegex(second["Cache-Status"], r"bookshop; hit; ttl=\d+")

    def test_a_read_after_a_write_is_not_the_old_one(self):
        services.book_get(isbn=ISBN)

        with assert_invalidates(f"book:{ISBN}"):
            services.book_rename(isbn=ISBN, title="new")

        self.assertEqual(services.book_get(isbn=ISBN).value.title, "new")


class WriteTests(TestCase):
    def setUp(self):
        Book.objects.create(isbn=ISBN, title="old")

    def test_renaming_invalidates(self):
        with assert_invalidates(f"book:{ISBN}"):
            services.book_rename(isbn=ISBN, title="new")

    def test_so_does_an_edit_past_the_service(self):
        with assert_invalidates(f"book:{ISBN}"):
            Book.objects.update(title="new")
