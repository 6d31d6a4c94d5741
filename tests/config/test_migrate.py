"""manage.py migrate by several instances at once, on an empty database."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError

from config.management.commands.migrate import _LOCK_KEY, _is_away
from config.stack import ROOT, process

DATABASE = "migrated"
SECONDS = 60


@pytest.fixture
def url(stack) -> Iterator[str]:
    """The URL of an empty database."""
    with psycopg.connect(stack.operator_urls()["DATABASE_URL"], autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        session.execute(f"CREATE DATABASE {DATABASE} OWNER trilith")
        yield stack.urls()["DATABASE_URL"].rpartition("/")[0] + f"/{DATABASE}"
        session.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def migrate(url: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "manage.py", "migrate", "--no-input", *options],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_several_instances_each_migration_is_applied_by_one(url):
    """One of the migrations makes indexes concurrently, which waits for the snapshots of others."""
    started = [migrate(url) for _ in range(3)]

    outputs = [instance.communicate(timeout=4 * SECONDS) for instance in started]

    assert [instance.returncode for instance in started] == [0, 0, 0], outputs
    applied = [
        line.split()[1]
        for output, _ in outputs
        for line in output.splitlines()
        if line.strip().startswith("Applying ")
    ]
    with psycopg.connect(url) as session:
        [migrations] = session.execute("SELECT count(*) FROM django_migrations").fetchone()
    assert len(applied) == len(set(applied)) == migrations


def because_of(cause: psycopg.Error) -> OperationalError:
    """Django's error, as it has psycopg's."""
    error = OperationalError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("exc", "is_away"),
    [
        (because_of(psycopg.OperationalError()), True),
        (because_of(psycopg.errors.AdminShutdown()), True),
        (because_of(psycopg.errors.LockNotAvailable()), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (because_of(psycopg.errors.ObjectInUse()), False),  # pending trigger events
        (because_of(psycopg.errors.ProgramLimitExceeded()), False),  # an index row too large
        (ZeroDivisionError(), False),
    ],
)
def test_a_mistake_in_a_migration_is_not_taken_for_a_server_that_is_away(exc, is_away):
    """psycopg has OperationalError for both; only the first ends in one line."""
    assert _is_away(exc) is is_away


class TestLock:
    @pytest.fixture
    def locked(self, url) -> Iterator[psycopg.Connection]:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
            yield session

    def test_who_waits_says_so_and_migrates_once_it_is_free(self, url, locked):
        waiting = migrate(url)
        while (line := waiting.stdout.readline()) and "Waiting for another" not in line:
            pass
        assert line.strip() == "Waiting for another process, which migrates."
        assert locked.execute("SELECT to_regclass('notes')").fetchone() == (None,)

        locked.close()

        _, errors = waiting.communicate(timeout=4 * SECONDS)
        assert waiting.returncode == 0, errors

    def test_what_only_reads_waits_for_nobody(self, url, locked):
        reading = migrate(url, "--check")

        assert process.wait_until(lambda: reading.poll() is not None, SECONDS)
        reading.communicate()
        assert reading.returncode == 1  # nothing is applied yet


@pytest.mark.parametrize("options", [[], ["--plan"], ["--check"]])
def test_a_server_that_does_not_answer_is_one_line(stack, options):
    """Nothing listens on port 1."""
    url = stack.urls()["DATABASE_URL"].rpartition(":")[0] + ":1/trilith"
    migrating = migrate(url, *options)

    _, errors = migrating.communicate(timeout=SECONDS)

    assert migrating.returncode == 1
    assert errors.startswith("CommandError: postgres failed: ")
    assert errors.count("\n") == 1
