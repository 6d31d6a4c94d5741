"""PostgreSQL: dumped by pg_dump, restored beside the database in use and then put in its place."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from django.db import connection
from psycopg import conninfo, sql

from config.backup import BackupRefused
from config.postgres import server
from config.stack.postgres import programs
from config.stack.process import StackError

DUMP: Final = "postgres.dump"
_MAINTENANCE: Final = "postgres"  # from which databases are made and renamed
# Rows of these are made by migrate: a database with no others is an empty one.
_BOOKKEEPING: Final = {"django_migrations", "django_content_type", "auth_permission"}
Connection = psycopg.Connection[Any]


class Dumped(NamedTuple):
    """What a dump holds."""

    version: str
    migrations: list[str]
    tables: dict[str, int]


def dump(folder: Path) -> Dumped:
    """
    Write the schema public, all of it as of one moment, and return what is in it.

    The rows are counted in the transaction whose snapshot pg_dump reads. Raises BackupRefused.
    """
    with _connected(_database()) as asked:
        asked.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = _value(asked, "SELECT pg_export_snapshot()")
        (folder / DUMP).touch(0o600)
        _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={folder / DUMP}")
        tables = counts(asked)
        rows: Sequence[Any] = []
        if "django_migrations" in tables:
            rows = asked.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall()
        version = str(_value(asked, "SHOW server_version")).split()[0]
    return Dumped(version, [f"{app}.{name}" for app, name in rows], tables)


def counts(asked: Connection) -> dict[str, int]:
    """Return the number of rows of each table of the schema public."""
    names = asked.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    ).fetchall()
    count = sql.SQL("SELECT count(*) FROM public.{}")
    return {name: _value(asked, count.format(sql.Identifier(name))) for (name,) in names}


def filled() -> dict[str, int]:
    """Return the tables in use that hold anything, with their rows."""
    with _connected(_database()) as asked:
        return {
            name: rows for name, rows in counts(asked).items() if rows and name not in _BOOKKEEPING
        }


def refuse_while_in_use() -> None:
    """Raise BackupRefused where somebody else is connected to the database."""
    connection.close()
    with _connected(_MAINTENANCE) as asked:
        others = _value(
            asked, "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [_database()]
        )
    if others:
        raise BackupRefused(
            f"{others} connections to the database {_database()} are open: stop the site, "
            "and whatever else uses it, first"
        )


@contextmanager
def restored_aside(
    folder: Path, expected: dict[str, int], complete: Callable[[Any], None]
) -> Iterator[Callable[[], None]]:
    """
    Restore into a new database, and yield what puts it in the place of the one in use.

    complete is given a cursor on the restored one. Where the place was not taken, the new one is
    dropped. Raises BackupRefused where the rows are not as expected, or where PostgreSQL refuses.
    """
    aside = f"{_database()}_restoring"
    _drop(aside)
    with _connected(_MAINTENANCE) as asked:
        asked.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(aside)))
    try:
        _run("pg_restore", "--exit-on-error", str(folder / DUMP), database=aside)
        with _connected(aside) as asked:
            found = counts(asked)
            if found != expected:
                odd = min(found.items() ^ expected.items())
                raise BackupRefused(f"the restored rows are not those of the backup: {odd[0]}")
            complete(asked.cursor())
            asked.execute("ANALYZE")
        yield lambda: _put_in_place(aside)
    finally:
        _drop(aside)


def _put_in_place(aside: str) -> None:
    """Rename the two databases in one transaction; then drop the former one."""
    connection.close()
    replaced = f"{_database()}_replaced"
    _drop(replaced)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with _connected(_MAINTENANCE) as asked:
        try:
            with asked.transaction():
                for old, new in ((_database(), replaced), (aside, _database())):
                    asked.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
        except psycopg.errors.ObjectInUse as exc:
            raise BackupRefused(f"{str(exc).splitlines()[0]}: stop the site first") from exc
    _drop(replaced)


def _drop(database: str) -> None:
    with _connected(_MAINTENANCE) as asked:
        asked.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )


def _database() -> str:
    return str(connection.settings_dict["NAME"])


def _parameters(database: str) -> dict[str, Any]:
    return server.connection_parameters() | {"dbname": database}


@contextmanager
def _connected(database: str) -> Iterator[Connection]:
    """Yield a connection without the deadlines of requests."""
    with server.connect(Connection, dbname=database, autocommit=True, connect_timeout=5) as asked:
        yield asked


def _value(asked: Connection, question: Any, values: Sequence[Any] = ()) -> Any:
    row = asked.execute(question, values).fetchone()
    return row[0] if row else None


def _run(program: str, *arguments: str, database: str = "") -> None:
    """Run one of PostgreSQL's programs on the schema public. Raises BackupRefused with its reason."""
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
        env={"PATH": os.defpath, "PGPASSWORD": password},  # not on the command line, which ps shows
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        told = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise BackupRefused(f"{program}: {told[0].removeprefix(f'{program}: error: ')}")
