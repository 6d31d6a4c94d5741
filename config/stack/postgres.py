"""PostgreSQL 18 from its wheel, or another installation named by STACK_PG_BIN."""

import os
import pwd
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from config.stack import process
from config.stack.process import StackError
from config.stack.server import ENVIRONMENT, Binary, Server, binary_from

_STATEMENTS = "pg_stat_statements"
# Sorted by code point on each system; PostgreSQL's own C.UTF-8 (from 17 on) where the system may have none.
_LOCALE = (
    ("--locale=C.UTF-8",)
    if sys.platform == "linux"
    else ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
)


def programs() -> Binary:
    """Return the folder of PostgreSQL's programs, pg_dump among them. Raises StackError."""
    return binary_from("STACK_PG_BIN", "postgres")


class Postgres(Server):
    """
    One cluster, reached over loopback with a password.

    PostgreSQL refuses to run as root. There it runs as nobody, where nobody can reach the
    program and the data; in a folder closed to others, in a user namespace of its own. The
    owner of the data says later which of the two it was.
    """

    name = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": ends sessions, loses nothing

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def marker(self) -> str:
        # Not the data folder: initdb has that argument, too.
        return f"external_pid_file={self.data / 'server.pid'}"

    @property
    def _made(self) -> Path:
        """Written when initdb has finished; PG_VERSION exists long before that."""
        return self.folder / "made-by-initdb"

    @property
    def url(self) -> str:
        return f"postgresql://trilith:{self.passwords['postgres']}@127.0.0.1:{self.port}/trilith"

    @property
    def operator_url(self) -> str:
        password = self.passwords["postgres_superuser"]
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/trilith"

    def binary(self) -> Binary:
        folder = programs()
        if not (folder.path / "postgres").exists():
            raise StackError(f"{folder.origin}: there is no postgres in this folder")
        return folder

    def prepare(self, binary: Binary) -> None:
        initdb = process.find(str(self.data))
        if initdb is not None:  # its launcher was killed
            process.kill(initdb)
        orphans = process.living_in(
            self.data
        )  # of a postmaster that was killed; they end by themselves
        if not process.wait_until(lambda: not any(map(process.is_alive, orphans)), 5):
            for orphan in orphans:
                process.kill(orphan)
        if self._made.exists():
            self._refuse_another_major(binary)
            # No postmaster has this folder (the process table says so): a pid file is a leftover.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        shutil.rmtree(self.data, ignore_errors=True)  # of an initdb that was interrupted
        self._initdb(binary)

    def _initdb(self, binary: Binary) -> None:
        self.data.mkdir(mode=0o700)
        password = self.folder / "password"
        password.touch(0o600)
        try:
            password.write_text(self.passwords["postgres_superuser"])
            if os.geteuid() == 0 and self._nobody_can_reach(binary):
                nobody = pwd.getpwnam("nobody")
                for owned in (self.data, password):
                    os.chown(owned, nobody.pw_uid, nobody.pw_gid)
            process.run(
                [
                    *self._as_ordinary_user(),
                    binary.path / "initdb",
                    *("-D", self.data, "-U", "postgres", f"--pwfile={password}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", *_LOCALE),
                    *("--data-checksums", "--no-sync", "--no-instructions"),
                    # Each iteration slows guessing, but 24 random bytes are not guessed; a connection costs half.
                    "--set=scram_iterations=1",
                ],
                environment=ENVIRONMENT,
                identity=self.identity(),
            )
        finally:
            password.unlink(missing_ok=True)
        self._made.touch()

    def _refuse_another_major(self, binary: Binary) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        output = process.run(
            [binary.path / "postgres", "--version"], environment=ENVIRONMENT, identity={}
        )
        major = output.split()[2].split(".")[0]
        if made_by != major:
            raise StackError(
                f"the data was created by PostgreSQL {made_by}, but {binary.origin} is {major}: use that "
                f"version, or start over with: reset"
            )

    def _nobody_can_reach(self, binary: Binary) -> bool:
        parents = {*self.data.resolve().parents, *(binary.path.resolve() / "postgres").parents}
        return all(parent.stat().st_mode & 0o001 for parent in parents)

    def _belongs_to_nobody(self) -> bool:
        return self.data.stat().st_uid != 0

    def identity(self) -> dict[str, Any]:
        if os.geteuid() != 0 or not self._belongs_to_nobody():
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _as_ordinary_user(self) -> list[str]:
        if os.geteuid() == 0:
            if self._belongs_to_nobody():
                return []
        elif _has_a_name(os.geteuid()):
            return []
        unshare = shutil.which("unshare")
        if unshare is None:
            raise StackError(
                "PostgreSQL refuses to run as root or as a user without a name, and unshare "
                "(util-linux) is missing: run as an ordinary user, or move the project where the "
                "user nobody can reach it"
            )
        nobody = pwd.getpwnam("nobody")  # initdb wants a user that /etc/passwd knows
        return [
            *(unshare, "--user"),
            *(f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"),
        ]

    def command(self, binary: Binary) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": "128MB",
            "max_wal_size": "4GB",  # loading a million rows then needs no checkpoint in between
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server: list[str | Path] = [
            binary.path / "postgres",
            "-D",
            self.data,
            *options,
            "-c",
            self.marker,
        ]
        return [*self._as_ordinary_user(), *server]

    def answers(self) -> bool:
        try:
            with self._superuser("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def settle(self) -> None:
        """Create the site's role and database, and load pg_stat_statements if it is installed."""
        with self._superuser("postgres") as connection:
            create_role_and_database(connection, self.passwords["postgres"])
            available = _exists(
                connection,
                "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'",
            )
            loaded = _statements_loaded(connection)
            if available and not loaded:
                connection.execute(
                    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"
                )
        if available and not loaded:
            self.stop()
            self._await(self._spawn())
        if available:
            for database in ("template1", "trilith"):
                with self._superuser(database) as connection:
                    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def version(self) -> str:
        with self._superuser("postgres") as connection:
            number = connection.execute("SHOW server_version").fetchone()
            loaded = _statements_loaded(connection)
        counted = _STATEMENTS if loaded else f"no {_STATEMENTS}: pg_stat_user_tables counts instead"
        return f"PostgreSQL {number[0].split()[0] if number else '?'} ({counted})"

    @contextmanager
    def _superuser(self, database: str) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.passwords["postgres_superuser"],
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            yield connection


def create_role_and_database(connection: psycopg.Connection[Any], password: str) -> None:
    """Create the site's role and database on a server, if they are missing."""
    if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = 'trilith'"):
        connection.execute(
            sql.SQL("CREATE ROLE trilith LOGIN CREATEDB PASSWORD {}").format(sql.Literal(password))
        )
        connection.execute("GRANT pg_monitor TO trilith")
    if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = 'trilith'"):
        connection.execute("CREATE DATABASE trilith OWNER trilith")


def _has_a_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:  # as in a container that runs with an arbitrary uid
        return False
    return True


def _exists(connection: psycopg.Connection[Any], query: Any) -> bool:
    return connection.execute(query).fetchone() is not None


def _statements_loaded(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SHOW shared_preload_libraries").fetchone()
    return row is not None and _STATEMENTS in row[0]
