"""PostgreSQL: dump with pg_dump, restore into a new database, then swap it in."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from django.db import connection as django_connection
from psycopg import conninfo, sql

from config.backup import BackupRefused
from config.postgres import server
from config.stack.postgres import programs
from config.stack.process import StackError

DUMP: Final = "postgres.dump"
_MAINTENANCE: Final = "postgres"  # the database to connect to for creating and renaming others
# migrate fills these tables: a database with rows in no others counts as empty.
_BOOKKEEPING: Final = {
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "cachelayer_trust",
}
Connection = psycopg.Connection[Any]


class Dumped(NamedTuple):
    """The contents of a dump."""

    version: str
    migrations: list[str]
    tables: dict[str, int]


def dump(folder: Path) -> Dumped:
    """
    Dump the schema public, as of a single moment, and return its contents.

    The rows are counted in the transaction whose snapshot pg_dump reads. Raises BackupRefused.
    """
    with _connected(_database()) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = _value(connection, "SELECT pg_export_snapshot()")
        (folder / DUMP).touch(0o600)
        _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={folder / DUMP}")
        tables = counts(connection)
        rows: Sequence[Any] = []
        if "django_migrations" in tables:
            rows = connection.execute(
                "SELECT app, name FROM django_migrations ORDER BY id"
            ).fetchall()
        version = str(_value(connection, "SHOW server_version")).split()[0]
    return Dumped(version, [f"{app}.{name}" for app, name in rows], tables)


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table of the schema public."""
    names = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    ).fetchall()
    count = sql.SQL("SELECT count(*) FROM public.{}")
    return {name: _value(connection, count.format(sql.Identifier(name))) for (name,) in names}


def filled() -> dict[str, int]:
    """Return the tables in use that are not empty, with their numbers of rows."""
    with _connected(_database()) as connection:
        return {
            name: rows
            for name, rows in counts(connection).items()
            if rows and name not in _BOOKKEEPING
        }


def refuse_while_in_use() -> None:
    """Raise BackupRefused if anybody else is connected to the database."""
    django_connection.close()
    with _connected(_MAINTENANCE) as connection:
        others = _value(
            connection, "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [_database()]
        )
    if others:
        raise BackupRefused(
            f"{others} connections to the database {_database()} are open: first stop the site "
            "and everything else that uses it"
        )


@contextmanager
def restored_aside(
    folder: Path, expected: dict[str, int], complete: Callable[[Any], None]
) -> Iterator[Callable[[], None]]:
    """
    Restore into a new database, and yield a function that replaces the one in use with it.

    complete is called with a cursor on the new database. If it does not replace the other, it is
    dropped. Raises BackupRefused if the rows are not as expected, or if PostgreSQL refuses.
    """
    aside = f"{_database()}_restoring"
    _drop(aside)
    with _connected(_MAINTENANCE) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(aside)))
    try:
        _run("pg_restore", "--exit-on-error", str(folder / DUMP), database=aside)
        with _connected(aside) as connection:
            rows = counts(connection)
            if rows != expected:
                table, _ = min(rows.items() ^ expected.items())
                raise BackupRefused(f"the restored rows are not those of the backup: {table}")
            complete(connection.cursor())
            connection.execute("ANALYZE")
        yield lambda: _swap_in(aside)
    finally:
        _drop(aside)


def _swap_in(aside: str) -> None:
    """Rename both databases in one transaction, then drop the former one."""
    django_connection.close()
    replaced = f"{_database()}_replaced"
    _drop(replaced)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with _connected(_MAINTENANCE) as connection:
        try:
            with connection.transaction():
                for old, new in ((_database(), replaced), (aside, _database())):
                    connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
        except psycopg.errors.ObjectInUse as exc:
            raise BackupRefused(f"{str(exc).splitlines()[0]}: stop the site first") from exc
    _drop(replaced)


def _drop(database: str) -> None:
    with _connected(_MAINTENANCE) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )


def _database() -> str:
    return str(django_connection.settings_dict["NAME"])


def _parameters(database: str) -> dict[str, Any]:
    return server.connection_parameters() | {"dbname": database}


@contextmanager
def _connected(database: str) -> Iterator[Connection]:
    """Yield a connection without the timeouts of requests."""
    with server.connect(
        Connection, dbname=database, autocommit=True, connect_timeout=5
    ) as connection:
        yield connection


def _value(connection: Connection, query: Any, values: Sequence[Any] = ()) -> Any:
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None


def _run(program: str, *arguments: str, database: str = "") -> None:
    """Run a PostgreSQL client program on the schema public. Raises BackupRefused with its error."""
    parameters = _parameters(database or _database())
    password = str(parameters.pop("password", ""))
    try:
        path = programs().path / program
    except StackError as exc:
        raise BackupRefused(str(exc)) from exc
    done = subprocess.run(
        [
            *(path, "--no-password", f"--dbname={conninfo.make_conninfo(**parameters)}"),
            *("--schema=public", "--no-owner", "--no-privileges", *arguments),
        ],
        env={
            "PATH": os.defpath,
            "PGPASSWORD": password,
        },  # not on the command line, which ps displays
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise BackupRefused(f"{program}: {lines[0].removeprefix(f'{program}: error: ')}")
