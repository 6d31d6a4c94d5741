"""Notes in files: which of them are notes, their text, and their title."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS

SUFFIXES: Final = (".md", ".markdown", ".txt")
_BYTES_MAX: Final = CONTENT_MAX_CHARACTERS * 4  # UTF-8 takes at most four bytes for a character
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ATX_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_SETEXT_LINE = re.compile(r" {0,3}(=+|-+)[ \t]*")


class Unreadable(Exception):
    """The file cannot become a note; the message says why."""


@dataclass(frozen=True)
class FileNote:
    """A file's text, exactly as it is but for a byte order mark, and the title found in it."""

    title: str
    content: str


def find_files(root: Path) -> Iterator[Path]:
    """
    Yield every file below root, sorted; root itself, where it is a file.

    Hidden files and folders are left out. A symbolic link to a folder is yielded like a file,
    not followed, so a loop is harmless.
    """
    if not root.is_dir():
        yield root
        return
    for folder, folders, files in os.walk(root):
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in linked
        )
        for name in sorted([*files, *linked]):
            if not name.startswith("."):
                yield Path(folder) / name


def is_note_file(path: Path) -> bool:
    """Return whether the name is that of a Markdown or text file."""
    return path.suffix.lower() in SUFFIXES


def read_note_file(path: Path, *, root: Path) -> FileNote:
    """Return the file's text and title. Raises Unreadable; a device or a pipe is never opened."""
    try:
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root.resolve()):
            raise Unreadable("is a symbolic link that leaves the folder")
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):
            raise Unreadable("is not a regular file")
        if told.st_size > _BYTES_MAX:
            raise Unreadable(f"has {told.st_size} bytes; at most {_BYTES_MAX} can be a note")
        raw = path.read_bytes()
    except (OSError, RuntimeError) as exc:  # RuntimeError: a loop of links
        raise Unreadable(getattr(exc, "strerror", None) or str(exc)) from exc
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unreadable(f"is not UTF-8 at byte {exc.start}") from exc
    if "\0" in content:
        line = content[: content.index("\0")].count("\n") + 1
        raise Unreadable(f"holds a null character in line {line}")
    if len(content) > CONTENT_MAX_CHARACTERS:
        raise Unreadable(f"has {len(content)} characters; at most {CONTENT_MAX_CHARACTERS} fit")
    markdown = path.suffix.lower() != ".txt"
    name = path.stem.encode(errors="surrogateescape").decode(errors="replace")
    return FileNote(title_of(content, markdown=markdown) or _tidy(name) or "Untitled", content)


def title_of(content: str, *, markdown: bool) -> str | None:
    """
    Return the title in the front matter, else the first heading (in Markdown only), else None.

    White space is collapsed; a title that is too long for a note ends in an ellipsis.
    """
    header = _FRONT_MATTER.match(content)
    if header:
        title = _front_matter_title(header.group(1))
        if title:
            return title
    if not markdown:
        return None
    return next(_headings(content[header.end() :] if header else content), None)


def _front_matter_title(text: str) -> str | None:
    try:
        facts = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None  # not front matter after all; the text is kept as it is
    title = facts.get("title") if isinstance(facts, dict) else None
    if title is None or isinstance(title, dict | list | bool):
        return None
    return _tidy(str(title)) or None


def _headings(text: str) -> Iterator[str]:
    """Yield the text of each heading outside of fenced code."""
    fence, above = "", ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence, above = ("" if fence else mark.group(1)), ""
            continue
        if fence:
            continue
        heading = _ATX_HEADING.fullmatch(line)
        underlined = above if _SETEXT_LINE.fullmatch(line) else ""
        title = _tidy(heading.group(1) if heading else underlined)
        if title:
            yield title
        above = "" if heading or underlined else line.strip()


def _tidy(text: str) -> str:
    printable = "".join(" " if ord(sign) < 32 else sign for sign in text)
    # YAML can spell lone surrogates, which no text in PostgreSQL may hold.
    title = " ".join(printable.encode(errors="replace").decode().split())
    fits = len(title) <= TITLE_MAX_CHARACTERS
    return title if fits else title[: TITLE_MAX_CHARACTERS - 1].rstrip() + "…"
