"""Each test has its own cache: a key prefix of its own, on the real Redis."""

import errno
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management.commands import flush
from django.db import connection, connections
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from activity import checkpoint
from activity import services as activity
from cachelayer import client, counts, first_level, hosts, invalidation, protocol, slots, trust
from cachelayer.models import OutboxRow, Trust
from config.mongodb import client as mongodb_client
from config.postgres import outages
from config.stack import Stack
from config.stack.process import wait_until
from tests.leases import trusted_again

KEPT_TABLES = {"django_content_type", "auth_permission", Trust._meta.db_table}
OUTBOX = OutboxRow._meta.db_table
_numbers = itertools.count()

# Each Client has middleware of its own, which else looks at all static files: half the time of a test of the API.
django_settings.WHITENOISE_AUTOREFRESH = True

# How long an example takes says how busy the machine is, and nothing else.
hypothesis_settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _own_cache(settings, monkeypatch) -> None:
    settings.CACHELAYER = settings.CACHELAYER | {"PREFIX": f"test-{os.getpid()}-{next(_numbers)}"}
    # Reads of earlier tests that were not flushed would rank above those of this test.
    counts.take()  # what tallies still have
    monkeypatch.setattr(counts, "_reads", Counter())
    monkeypatch.setattr(counts, "_results", Counter())


@pytest.fixture(autouse=True)
def _own_slots(settings, tmp_path_factory, monkeypatch) -> Iterator[None]:
    folder = str(tmp_path_factory.mktemp("slots"))  # not in the test's own folder
    settings.CACHELAYER = settings.CACHELAYER | {"SLOTS_DIR": folder}
    # Each test has a register of its own, which is new: without this its first write would wait.
    monkeypatch.setattr(hosts, "_is_whole", lambda identity: True)
    yield
    slots.detach()
    first_level.copies.clear()


@pytest.fixture(autouse=True)
def _own_activity_spool(settings, tmp_path) -> None:
    settings.ACTIVITY_SPOOL_DIR = str(tmp_path / "spool")


@pytest.fixture(autouse=True)
def _closed_breakers() -> Iterator[None]:
    """Close breakers that a test has left open, and wait for the lease: its server is back by now."""
    yield
    for breaker in (client.breaker, mongodb_client.breaker, outages.breaker, outages.writing):
        if breaker.is_open:
            breaker.reset()
    if trust.lease.is_started:
        assert trusted_again()


@pytest.fixture
def unreadable_spool(settings) -> Path:
    """A file in the place of this process's spool, where even root finds no folder."""
    folder = Path(settings.ACTIVITY_SPOOL_DIR)
    activity.own_spool()
    folder.rmdir()
    folder.write_text("no folder")
    return folder


@pytest.fixture
def forbidden_segment(monkeypatch) -> Path:
    """A segment with one event that this account may not read."""
    activity.own_spool().append({"user_id": "abc"})
    path = activity.own_spool().current
    activity.own_spool().close()
    opened = os.open

    def refuse(name: object, *args: object, **named: object) -> int:
        if name in (path, path.with_suffix(checkpoint.SUFFIX)):
            raise PermissionError(errno.EACCES, "not allowed", str(name))
        return opened(name, *args, **named)

    monkeypatch.setattr(os, "open", refuse)
    return path


@pytest.fixture
def redis_client() -> redis.Redis:
    """The connection that the cache itself uses."""
    return client.client()


@pytest.fixture
def api() -> Client:
    """A client of the API who is user abc."""
    return Client(headers={"X-User-Id": "abc"}, raise_request_exception=False)


@pytest.fixture
def superuser_client(db) -> Client:
    """A client of the admin who may do everything; it raises what is none of the site's answers."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


@pytest.fixture
def closed_breaker() -> Iterator[None]:
    """Leave the breaker closed for the next test."""
    yield
    client.breaker.reset()


@pytest.fixture
def mongodb_restored(stack) -> Iterator[Stack]:
    """The servers, of which the test may kill and pause MongoDB; trusted again for the next test."""
    yield stack
    stack.up()
    assert wait_until(lambda: not mongodb_client.breaker.is_open, 30)


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    """
    Empty small tables by DELETE between tests: TRUNCATE makes new files for all of them.

    A table that has grown is truncated all the same, so that none keeps what a test left in it.
    Content types and permissions, which no test changes, stay; else they would be made again.
    """
    truncate = DatabaseOperations.sql_flush

    def sql_flush(self, style, tables, **options):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_class WHERE relname = ANY(%s)"
                " AND pg_total_relation_size(oid) > 1000000",
                [list(tables)],
            )
            grown = [name for (name,) in cursor.fetchall()]
        # The outbox last: what the triggers on the others have put there goes, too.
        small = sorted(
            set(tables) - set(grown) - KEPT_TABLES, key=lambda name: (name == OUTBOX, name)
        )
        deletes = [f"DELETE FROM {self.quote_name(name)}" for name in small]
        return truncate(self, style, grown, **options) + deletes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *args, **options: None)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup) -> Iterator[None]:
    yield
    trust.lease.stop()
    for alias_connection in connections.all():
        alias_connection.close()


@pytest.fixture
def served(monkeypatch):
    """What is left of a write after its answer waits, as in a process that serves requests."""
    collected = (invalidation.delivered_rows, protocol.invalidated_tags)
    for later in collected:
        monkeypatch.setattr(later, "is_running", True)
    yield
    for later in collected:
        later.flush()
