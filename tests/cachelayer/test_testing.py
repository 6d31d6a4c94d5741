"""The test kit: what it lets pass, what it does not, and what it says then."""

import pytest
from django.db import connection, transaction

from cachelayer import client, trust
from cachelayer.conf import config
from cachelayer.invalidation import around, invalidate
from cachelayer.models import Trust
from cachelayer.read import get_many, get_or_load
from cachelayer.testing import assert_fills, assert_invalidates, isolated_cache, override_config
from tests.cachelayer.test_read import LOADED, Loads, key, never

in_transaction = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def announce_by_trigger(*tags: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cachelayer_invalidate(%s)", [list(tags)])


@committing
class TestFills:
    def test_counts_what_is_stored(self):
        with assert_fills(1):
            get_or_load(key(), Loads())
        with assert_fills(0):
            get_or_load(key(), never)
        with assert_fills(2):
            get_many([key("a"), key("b")], lambda keys: [LOADED] * len(keys))

    def test_says_what_was_read_and_stored(self):
        get_or_load(key("a"), Loads())

        with pytest.raises(AssertionError) as raised, assert_fills(2):
            get_or_load(key("a"), never)
            get_or_load(key("b"), Loads())

        assert str(raised.value) == (
            "assert_fills(2): 1 stored. In this block: words:a read: hit, words:b stored, words:b read: absent."
        )

    def test_says_that_nothing_was_read(self):
        with (
            pytest.raises(AssertionError, match="nothing was read through the cache"),
            assert_fills(1),
        ):
            pass

    def test_says_what_a_cache_lacks_that_stores_nothing(self, monkeypatch, closed_breaker):
        monkeypatch.setattr(client.breaker, "is_open", True)

        with (
            pytest.raises(AssertionError, match="without Redis, or without its lease"),
            assert_fills(1),
        ):
            get_or_load(key(), Loads())

    def test_lets_the_error_of_the_block_through(self):
        with pytest.raises(KeyError), assert_fills(1):
            raise KeyError


@in_transaction
def test_fills_cannot_be_told_in_a_transaction():
    with pytest.raises(AssertionError, match="Use TransactionTestCase, or pytest"), assert_fills(0):
        get_or_load(key(), Loads())


class Invalidates:
    def test_a_write_does(self):
        with assert_invalidates("a", "b"):
            invalidate("a", "b", "c")

    def test_a_trigger_does_whatever_the_transaction_has_announced_before(self):
        announce_by_trigger("a")

        with assert_invalidates("a"):
            announce_by_trigger("a")

    def test_what_was_announced_before_does_not_count(self):
        invalidate("a")

        with (
            pytest.raises(AssertionError, match=r"a not invalidated\. In this block: nothing"),
            assert_invalidates("a"),
        ):
            pass

    def test_what_is_rolled_back_does_not_count(self):
        with (
            pytest.raises(AssertionError, match=r"a not invalidated\. In this block: b"),
            assert_invalidates("a", "b"),
        ):
            invalidate("b")
            with transaction.atomic():
                invalidate("a")
                transaction.set_rollback(True)

    def test_lets_the_error_of_the_block_through(self):
        with pytest.raises(KeyError), assert_invalidates("a"):
            raise KeyError


@in_transaction
class TestInvalidatesInATransaction(Invalidates):
    def test_so_does_what_a_test_runs_that_was_to_run_after_the_commit(
        self, django_capture_on_commit_callbacks
    ):
        with assert_invalidates("a"), django_capture_on_commit_callbacks(execute=True):
            invalidate("a")


@committing
class TestInvalidatesWithCommits(Invalidates):
    def test_a_write_to_another_store_does(self):
        with assert_invalidates("a"), around("a"):
            pass


@committing
class TestIsolatedCache:
    def test_has_what_it_filled_until_its_end(self):
        with isolated_cache():
            get_or_load(key(), Loads())
            with assert_fills(0):
                get_or_load(key(), never)
        with isolated_cache(), assert_fills(1):
            get_or_load(key(), Loads())

    def test_is_apart_and_leaves_no_lease(self):
        get_or_load(key(), Loads())
        outside = config()

        with isolated_cache(LEASE_MS=50):
            assert config().PREFIX != outside.PREFIX
            assert config().LEASE_MS == 50
            with assert_fills(1):
                get_or_load(key(), Loads())

        assert config() == outside
        assert not trust.lease.is_started

    def test_has_a_lease_at_once_after_a_flush(self):
        trust.lease.stop()
        Trust.objects.all().delete()

        with isolated_cache():
            assert Trust.objects.get().round == 1

    def test_says_why_it_has_none(self, monkeypatch):
        monkeypatch.setattr("cachelayer.testing._LEASE_SECONDS", 0.0)
        monkeypatch.setattr(trust.Lease, "renew", lambda lease: 1.0)

        with (
            pytest.raises(AssertionError, match="does the Redis of CACHES answer"),
            isolated_cache(),
        ):
            pass


@in_transaction
class TestOverrides:
    def test_an_isolated_cache_in_a_transaction_only_overrides(self):
        outside = config()

        with isolated_cache(VERSION=7):
            assert config().VERSION == 7
        assert config() == outside

    @override_config(VERSION=3)
    def test_a_decorator_overrides_too(self):
        assert config().VERSION == 3
