"""Back up PostgreSQL and MongoDB into one folder, and restore them: docs/backup.md."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Called with the current step, how much of it is done, and the total (0: unknown), in rows or documents.
OnProgress = Callable[[str, int, int], None]


class BackupRefused(Exception):
    """A backup cannot be made or restored, and nothing was changed. One line, with the remedy."""


@contextmanager
def file_errors_refused(folder: Path) -> Iterator[None]:
    """Turn the operating system's error into BackupRefused, which names the file, or else the folder."""
    try:
        yield
    except OSError as exc:
        raise BackupRefused(f"{exc.filename or folder}: {exc.strerror}") from exc
