"""Files that a command writes at its end: tried before the work, and replaced whole."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unwritable(OSError):
    """A file cannot be written; the message names it, and the reason."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def refuse_unwritable(path: Path) -> None:
    """Raise Unwritable where write(path) would fail."""
    with _named(path):
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        if not _is_special(path):
            _try_folder(path.resolve().parent)


def refuse_unwritable_folder(folder: Path) -> None:
    """Create the folder where it is missing. Raises Unwritable where no file can be written into it."""
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _try_folder(folder)


def write(path: Path, text: str, *, mode: int = 0o666) -> None:
    """
    Write the file in one step: a crash or a full disk leaves the old one.

    mode is before the umask. Raises Unwritable.
    """
    with _named(path):
        if _is_special(path):
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # a link goes on to lead to it
        fresh = target.with_name(f".{uuid.uuid4().hex}.new")
        try:
            fresh.touch(mode, exist_ok=False)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Return whether the path is a device or a pipe, such as /dev/stdout, which no file may replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _try_folder(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unwritable(exc.errno, exc.strerror, str(path)) from exc
