"""A stack's own servers for a measurement: started, filled, and stopped after it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import dotenv
import psycopg
import redis
from psycopg import sql

from config.stack import ROOT, VARIABLES, Stack
from config.stack.process import StackError

USERS: Final = 200
_UNTIL: Final = "--until=2026-01-01"  # the same rows on every day
_MARK: Final = "for experiments: whatever is in it may be overwritten"
_COMMANDS: Final = ROOT / "config" / "commands.py"
_BASICS: Final = (
    ("migrate", "-v0"),
    ("mongo_indexes", "--ensure"),
    ("seed_profiles", f"--count={USERS}", _UNTIL),
)


@dataclass
class Servers:
    """The three servers of a stack, and the environment of a site on them."""

    stack: Stack
    environment: dict[str, str] = field(repr=False)
    root: Path = ROOT  # of the code that fills them
    _is_migrated: bool = False

    def claim(self) -> None:
        """
        Mark an empty database as one for experiments.

        Raises StackError if it is neither empty nor marked: its data may be of value.
        """
        query = """
            SELECT shobj_description(oid, 'pg_database') = %s, to_regclass('django_migrations') IS NULL
            FROM pg_database WHERE datname = current_database()"""
        with self._connected() as connection:
            row = connection.execute(query, [_MARK]).fetchone()
            is_marked, is_empty = row or (False, False)
            if is_empty:
                name = sql.Identifier(connection.info.dbname)
                comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
                connection.execute(comment.format(name, sql.Literal(_MARK)))
            elif not is_marked:
                raise StackError(
                    f"the database of the stack {self.stack.name} is not marked as one for "
                    "experiments, so it is left alone; delete it with: "
                    f"python -m config.stack --name {self.stack.name} reset"
                )

    def migrate(self) -> None:
        """Migrate schema and indexes, and seed the profiles."""
        if not self._is_migrated:
            self._manage(_BASICS)
            self._is_migrated = True

    def prepare(self, notes: int) -> None:
        """
        Start all servers, migrate, seed exactly that many notes, and empty the cache.

        Only what is missing is done. Raises StackError.
        """
        self.stack.up()
        commands = [] if self._is_migrated else list(_BASICS)
        there = self._note_count()
        if there != notes:
            reset = ("--reset", "--no-input") if there else ()
            size = (f"--count={notes}", f"--users={USERS}")
            commands.append(("seed_notes", *size, _UNTIL, *reset))
        self._manage(commands)
        self._is_migrated = True
        with redis.Redis.from_url(self.stack.operator_urls()["REDIS_URL"]) as cache:
            cache.flushall()

    def anew(self) -> None:
        """Delete all data and start with empty servers, new passwords and ports."""
        self.stack.reset()
        self.stack.up()
        self.environment |= self.stack.urls()
        self._is_migrated = False

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(self.stack.operator_urls()["DATABASE_URL"])

    def _manage(self, commands: Sequence[Sequence[str]]) -> None:
        if commands:
            # By its path, and with the code in root: another revision may not have the module.
            environment = self.environment | {"PYTHONPATH": str(self.root)}
            run_python(["-P", str(_COMMANDS), json.dumps(commands)], environment, self.root)

    def _note_count(self) -> int:
        """Return how many notes there are; 0 where there is no table yet."""
        with self._connected() as connection:
            try:
                row = connection.execute("SELECT count(*) FROM notes").fetchone()
            except psycopg.errors.UndefinedTable:
                return 0
        return int(row[0]) if row else 0

    def versions(self) -> dict[str, str]:
        """Return what each server says of itself."""
        return {server.server: server.version or "not known" for server in self.stack.status()}


@contextmanager
def running_servers(name: str, root: Path = ROOT) -> Iterator[Servers]:
    """
    Start the stack's own servers, yield them, and stop them in any case.

    Servers that the environment or .env names are never touched. Raises StackError.
    """
    # What .env says is about the site that one develops, not about the one that is measured.
    others = {*VARIABLES.values(), *dotenv.dotenv_values(ROOT / ".env")}
    environment = {k: v for k, v in os.environ.items() if k not in others}
    stack = Stack(name, own_only=True)
    try:
        stack.up()
        environment |= stack.urls() | {
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1",
            "PYTHON_DOTENV_DISABLED": "1",
            "LOG_LEVEL": "WARNING",
            "ACTIVITY_SPOOL_DIR": str(stack.folder / "spool"),
            "CACHE_SLOTS_DIR": str(stack.folder / "slots"),
        }
        yield Servers(stack, environment, root)
    finally:
        stack.down()


def run_python(arguments: Sequence[str], environment: Mapping[str, str], root: Path = ROOT) -> str:
    """Run Python in the project's folder; return what it printed. Raises StackError."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise StackError(f"{' '.join(arguments)} failed: {' '.join(last)}")
    return done.stdout
