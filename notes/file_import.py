"""Notes in files: which files are notes, and the title, the content and the identity of each."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from notes.front_matter import FrontMatter, front_matter
from notes.headings import first_heading
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS

SUFFIXES: Final = (".md", ".markdown", ".txt")
# UTF-8 takes at most four bytes for a character; an exported file has front matter as well.
_BYTES_MAX: Final = CONTENT_MAX_CHARACTERS * 4 + 16_384


class Unreadable(Exception):
    """The file cannot become a note; the message says why."""


@dataclass(frozen=True)
class Origin:
    """The note that a file was exported from: its id, its user, and the checksum of the exported text."""

    note_id: UUID
    user_id: str
    checksum: str


@dataclass(frozen=True)
class FileNote:
    """
    A note read from a file.

    content is the file's text, unchanged but for a byte order mark; without the front matter that
    the export added, where the file has an origin.
    """

    title: str
    content: str
    origin: Origin | None = None


def find_files(root: Path, *, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    """
    Yield every file below root, folder by folder, sorted; root itself, where it is a file.

    Hidden files and folders are skipped. A symbolic link to a folder is yielded like a file,
    not followed, so a loop is harmless. unreadable is called for each folder that cannot be listed.
    """
    if not root.is_dir():
        yield root
        return
    folders = [root]  # an explicit stack, since recursion would limit the depth
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as exc:
            unreadable(exc)
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        yield from (folder / entry.name for entry in shown if not _is_folder(entry))
        folders.extend(folder / entry.name for entry in reversed(shown) if _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def is_note_file(path: Path) -> bool:
    """Return whether the name is that of a Markdown or text file."""
    return path.suffix.lower() in SUFFIXES


def read_note_file(path: Path, *, root: Path) -> FileNote:
    """Return the file's note. Raises Unreadable; a device or a pipe is never opened."""
    try:
        # Not Path.resolve, which raises another error for a loop of links before Python 3.13.
        if path.is_symlink() and not Path(os.path.realpath(path, strict=True)).is_relative_to(
            root.resolve()
        ):
            raise Unreadable("is a symbolic link to a place outside the folder")
        content = _decoded(_read_bytes(path))
    except OSError as exc:
        raise Unreadable(exc.strerror or str(exc)) from exc
    header = front_matter(content)
    origin = None if header is None else _origin(header)
    if header is not None and origin is not None:
        return _exported_note(header, origin, _fitting(content[header.end :]))
    markdown = path.suffix.lower() != ".txt"
    name = path.stem.encode(errors="surrogateescape").decode(errors="replace")
    title = title_of(_fitting(content), markdown=markdown) or _shortened(_tidy(name))
    return FileNote(title or "Untitled", content)


def title_of(content: str, *, markdown: bool) -> str | None:
    """
    Return the title in the front matter, else the first heading (in Markdown only), else None.

    A title from the front matter is kept as written, but on a single line; white space in a heading is
    collapsed. A title that is too long for a note ends in an ellipsis.
    """
    header = front_matter(content)
    if header:
        title = _one_line(header.scalars.get("title", ""))
        if title:
            return _shortened(title)
    if not markdown:
        return None
    return _shortened(_tidy(first_heading(content[header.end :] if header else content) or ""))


def _read_bytes(path: Path) -> bytes:
    """Return the content of a regular file. Raises OSError, and Unreadable for any other kind of file."""
    _refuse_irregular(path.stat())
    # O_NONBLOCK: by now it may be a pipe, which must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_irregular(os.fstat(file.fileno()))
        raw = file.read(_BYTES_MAX + 1)  # some files hold more than their size says
    if len(raw) > _BYTES_MAX:
        raise Unreadable(f"has more than {_BYTES_MAX} bytes, the maximum of a note")
    return raw


def _refuse_irregular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file")
    if status.st_size > _BYTES_MAX:
        raise Unreadable(f"has {status.st_size} bytes; a note has at most {_BYTES_MAX}")


def _decoded(raw: bytes) -> str:
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unreadable(f"is not UTF-8 at byte {exc.start}") from exc
    if "\0" in content:
        line = content[: content.index("\0")].count("\n") + 1
        raise Unreadable(f"contains a null character in line {line}")
    return content


def _fitting(content: str) -> str:
    if len(content) > CONTENT_MAX_CHARACTERS:
        raise Unreadable(
            f"has {len(content)} characters; a note has at most {CONTENT_MAX_CHARACTERS}"
        )
    return content


def _origin(header: FrontMatter) -> Origin | None:
    """Return which note the file was exported from, None for any other file. Raises Unreadable."""
    note_id = header.scalars.get("trilith_note")
    if note_id is None:
        return None
    try:
        return Origin(
            note_id=UUID(note_id),
            user_id=header.scalars.get("trilith_user", ""),
            checksum=header.scalars.get("trilith_checksum", ""),
        )
    except ValueError as exc:
        raise Unreadable("has a trilith_note in its front matter that is not a UUID") from exc


def _exported_note(header: FrontMatter, origin: Origin, content: str) -> FileNote:
    """Return the note with its title unchanged. Raises Unreadable if the title was removed."""
    title = header.scalars.get("title", "").replace("\0", " ")
    if not title:
        raise Unreadable("has a trilith_note in its front matter, but no title")
    return FileNote(_shortened(title) or "", content, origin)


def _one_line(text: str) -> str:
    """Return the text with each run of control characters and line breaks replaced by a space."""
    visible = "".join(" " if _is_control(character) else character for character in text)
    if visible != text:
        visible = " ".join(visible.split())
    return visible.strip()


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029"


def _tidy(text: str) -> str:
    return " ".join(_one_line(text).split())


def _shortened(title: str) -> str | None:
    """Return the title, shortened to the maximum length; None for an empty title."""
    fits = len(title) <= TITLE_MAX_CHARACTERS
    return (title if fits else title[: TITLE_MAX_CHARACTERS - 1].rstrip() + "…") or None
