"""
The test kit, for the tests of a project that uses the cache: by unittest, or by pytest.

Inside a transaction the cache is not used, and TestCase runs each test in one (as does pytest-django's
db). So what is filled can be asserted only in a TransactionTestCase (transactional_db); what is invalidated, in
both, since it is announced within the transaction. Of the cache itself, such a test has one of
its own by isolated_cache.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final
from unittest import mock

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings

from cachelayer import client, counts, first_level, hooks, protocol, slots, trust
from cachelayer.conf import config
from cachelayer.models import OutboxRow, TransactionId, Trust
from cachelayer.namespace import register_name

__all__ = ["assert_fills", "assert_invalidates", "isolated_cache", "override_config"]

_LEASE_SECONDS: Final = 10.0  # to wait for a lease; it takes milliseconds


def override_config(**values: Any) -> override_settings:
    """Override keys of CACHELAYER for a block, a test or a class; the others stay as they are."""
    return override_settings(CACHELAYER=getattr(settings, "CACHELAYER", {}) | values)


@contextlib.contextmanager
def isolated_cache(**values: Any) -> Iterator[None]:
    """
    Give the block a cache of its own, empty, in the Redis of CACHES; values override keys of CACHELAYER.

    On entry it waits until this process may believe Redis, so that the first read fills. On exit the
    entries are deleted, and the lease's connection is closed, which would keep the test database from
    being dropped. The first write of a process waits 1.5 s for hosts that it does not know; not the
    later ones. Within a transaction it does no more than override. Raises AssertionError where Redis does
    not answer.
    """
    prefix = f"{config().PREFIX}-test-{os.getpid()}"  # one for all tests, for the sake of that wait
    with (
        tempfile.TemporaryDirectory() as folder,
        override_config(**{"PREFIX": prefix, "SLOTS_DIR": folder} | values),
    ):
        if connection.in_atomic_block:
            yield
            return
        _begin_lease()
        try:
            yield
        finally:
            trust.lease.stop()
            slots.detach()
            first_level.copies.clear()
            _delete_entries()


@contextlib.contextmanager
def assert_fills(expected: int) -> Iterator[None]:
    """
    Assert that the block stores so many values in the cache, whichever thread of this process does.

    0: whatever it reads is there. Not within a transaction, where reads bypass the cache. Raises
    AssertionError, which lists what was read and stored.
    """
    if connection.in_atomic_block:
        raise AssertionError(
            f"assert_fills({expected}): this test runs in a transaction, where reads bypass the cache. "
            "Use TransactionTestCase, or pytest.mark.django_db(transaction=True)."
        )
    events: list[str] = []
    count, end_many = counts.count, protocol.end_many

    def counted(namespace: str, name: str, result: str) -> None:
        events.append(f"{name} read: {result}")
        count(namespace, name, result)

    def ended(loaded: Sequence[Any], **options: Any) -> list[protocol.Outcome]:
        outcomes = end_many(loaded, **options)
        events.extend(
            f"{key.name} {outcome}" for (key, *_), outcome in zip(loaded, outcomes, strict=True)
        )
        return outcomes

    with (
        mock.patch.object(counts, "count", counted),
        mock.patch.object(protocol, "end_many", ended),
    ):
        yield
    filled = sum(event.endswith(" stored") for event in events)
    if filled != expected:
        raise AssertionError(
            f"assert_fills({expected}): {filled} stored. In this block: "
            f"{', '.join(events) or 'nothing was read through the cache'}.{_why_degraded(events)}"
        )


@contextlib.contextmanager
def assert_invalidates(*tags: str) -> Iterator[None]:
    """
    Assert that the block invalidates each of the tags, by the application or by a trigger; it may more.

    In a transaction, that of TestCase included, what counts is what will be invalidated once that
    commits, so nothing that is rolled back within the block. Raises AssertionError, which lists what was
    invalidated.
    """
    if connection.in_atomic_block:
        # A trigger does not repeat what its transaction has announced, which a test may have done before.
        OutboxRow.objects.filter(transaction_id=TransactionId()).update(transaction_id=0)
    unlinked: list[str] = []
    last = OutboxRow.objects.order_by("-id").values_list("id", flat=True).first() or 0
    observe = unlinked.extend
    hooks.before_unlink.append(observe)
    try:
        yield
    finally:
        hooks.before_unlink.remove(observe)
    announced = OutboxRow.objects.filter(id__gt=last).values_list("tags", flat=True)
    invalidated = set(unlinked).union(*announced)
    if missing := sorted(set(tags) - invalidated):
        raise AssertionError(
            f"assert_invalidates: {', '.join(missing)} not invalidated. In this block: "
            f"{', '.join(sorted(invalidated)) or 'nothing; a rollback takes back what was invalidated'}."
        )


def _begin_lease() -> None:
    """Have this process believe Redis: after a flush the row of the lease is missing, and nobody has one."""
    trust.lease.stop()
    Trust.objects.get_or_create(id=1, defaults={"until": Now(), "round": 0, "server": ""})
    if not trust.lease.wait(_LEASE_SECONDS):
        trust.lease.stop()
        raise AssertionError(
            f"no lease of the cache within {_LEASE_SECONDS:.0f} s: does the Redis of CACHES answer, "
            "and is its CONNECTION_POOL_CLASS cachelayer.client.Pool?"
        )


def _delete_entries() -> None:
    """Delete what is in Redis under the prefix, but for the register of hosts, which is to be known."""
    with contextlib.suppress(client.CacheDown):
        client.execute("clear", _delete)


def _delete(redis: Any) -> None:
    names = set(redis.scan_iter(f"{config().PREFIX}:*", count=1_000)) - {register_name().encode()}
    if names:
        redis.unlink(*names)


def _why_degraded(events: Sequence[str]) -> str:
    if not any(event.endswith(" degraded") for event in events):
        return ""
    return " A degraded read is one without Redis, or without its lease: is the test in isolated_cache()?"
