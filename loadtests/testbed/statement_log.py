"""What statements ran in PostgreSQL, and for how long, as the server's own log has it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

import psycopg

from config.stack import Stack
from config.stack.process import StackError, wait_until

_ON: Final = "ALTER SYSTEM SET log_min_duration_statement = 0"
_OFF: Final = "ALTER SYSTEM RESET log_min_duration_statement"
_RELOAD_SECONDS: Final = 10.0
# Each backend takes the setting at its next statement after the postmaster's signal.
_SIGNALLED_SECONDS: Final = 0.2
_LINE: Final = re.compile(
    r"^(?P<at>\S+ \S+) UTC \[(?P<backend>\d+)\] LOG:  duration: (?P<ms>[0-9.]+) ms"
    r"  (?:statement|execute [^:]*): (?P<text>.*)$"
)

_READS_NOTES: Final = re.compile(r'FROM "?notes\b')


class Statement(NamedTuple):
    """One statement: when it ended (Unix time, to the millisecond), how long it took, and its text."""

    ended_at: float
    duration_ms: float
    backend: int  # PostgreSQL's process
    text: str

    @property
    def reads_notes(self) -> bool:
        return reads_notes(self.text)


def reads_notes(sql: str) -> bool:
    """Return whether a statement reads the table of notes, as Django's ORM or SQL by hand writes it."""
    return _READS_NOTES.search(sql) is not None


class StatementLog:
    """The server's log from now on. A statement stands there before its client is answered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = file.stat().st_size

    def read(self, marker: str) -> list[Statement]:
        """Return what ran since the last read and has marker in its text."""
        with self._file.open("rb") as log:
            log.seek(self._position)
            lines = log.readlines()
            self._position = log.tell()
        return [
            statement
            for statement in map(parse, lines)
            if statement is not None and marker in statement.text
        ]


@contextmanager
def statements_logged(stack: Stack) -> Iterator[StatementLog]:
    """Let PostgreSQL log every statement for the block; reset the setting. Raises StackError."""
    url = stack.operator_urls()["DATABASE_URL"]
    try:
        _set(url, _ON, "0")
        Event().wait(_SIGNALLED_SECONDS)
        yield StatementLog(stack.folder / "postgres" / "server.log")
    finally:
        _set(url, _OFF, "-1")


def parse(line: bytes) -> Statement | None:
    """Return the statement of a line; None where the line is about something else."""
    match = _LINE.match(line.decode(errors="replace"))
    if match is None:
        return None
    return Statement(
        datetime.fromisoformat(f"{match['at']}+00:00").timestamp(),
        float(match["ms"]),
        int(match["backend"]),
        match["text"],
    )


def _set(url: str, command: str, expected: str) -> None:
    def is_set() -> bool:
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW log_min_duration_statement").fetchone()
        return row is not None and row[0] == expected

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(command)
        connection.execute("SELECT pg_reload_conf()")
    if not wait_until(is_set, _RELOAD_SECONDS):
        raise StackError("PostgreSQL does not apply log_min_duration_statement; see its log")
