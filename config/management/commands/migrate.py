"""manage.py migrate: Django's own, under a lock, so that each of many instances may run it at its start."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from django.core.management.base import CommandError, OutputWrapper
from django.core.management.commands import migrate
from django.db import connections

from cachelayer.failures import unavailable_store
from config.postgres import server

_LOCK_KEY: Final = 0x6D69_6772_6174_65  # identifies the one that migrates; ASCII "migrate"
_POLL_SECONDS: Final = 0.2
_NOT_CONNECTED: Final = "08000"
# Connections, resources, shutdown and cancellation, locks, a read-only server (PostgreSQL, appendix A).
_OF_THE_SERVER: Final = ("08", "53", "57", "55P03", "25006")
# Of a host that is gone without a word, PostgreSQL gives the lock up after 25 s, not two hours.
_KEEPALIVES: Final = """
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"""


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate once nobody else does; what only reads waits for nobody."""
        only_reads = options["plan"] or options["check_unapplied"]
        lock = contextlib.nullcontext() if only_reads else _locked(options["database"], self.stdout)
        try:
            with connections[options["database"]].wrap_database_errors, lock:
                super().handle(*args, **options)
        except Exception as exc:
            if not _is_away(exc):
                raise
            reason = str(exc).split("\n")[0]
            raise CommandError(f"postgres failed: {reason}") from exc


def _is_away(exc: BaseException) -> bool:
    """Return whether the server is away, not the migration wrong; psycopg has OperationalError for both."""
    cause = exc.__cause__ or exc
    sqlstate = getattr(cause, "sqlstate", None) or _NOT_CONNECTED
    return unavailable_store(exc) is not None and sqlstate.startswith(_OF_THE_SERVER)


@contextlib.contextmanager
def _locked(database: str, stdout: OutputWrapper) -> Iterator[None]:
    """
    Hold the lock of a database's migrations; wait for it, and say so.

    It is tried again and again, since a statement that waits for it would have a snapshot, and CREATE
    INDEX CONCURRENTLY of whoever holds the lock waits for the end of every older snapshot.
    """
    with server.connect(psycopg.Connection, using=database, autocommit=True) as session:
        session.execute(_KEEPALIVES)
        waits = False
        while not _try_lock(session):
            if not waits:
                stdout.write("Waiting for another process, which migrates.")
                stdout.flush()
                waits = True
            threading.Event().wait(_POLL_SECONDS)
        yield


def _try_lock(session: psycopg.Connection[Any]) -> bool:
    row = session.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY]).fetchone()
    return row == (True,)
