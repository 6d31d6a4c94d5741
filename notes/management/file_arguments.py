"""What the commands share that move notes to and from files: arguments, and names made printable."""

import argparse
import os
import re
from pathlib import Path
from typing import Final

from django.core.management.base import CommandError

from notes.limits import USER_ID_PATTERN

INTERRUPTED: Final = 130  # exit status, as a shell has it for SIGINT


def path_argument(text: str) -> Path:
    """Return the path; an empty one is refused, since Path("") is the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text)


def refuse_user_id(user_id: str) -> None:
    """Raise CommandError where this can be no user's id."""
    if not re.fullmatch(USER_ID_PATTERN, user_id):
        raise CommandError(
            f"--user-id {printable(user_id)}: 1 to 128 characters of A-Z a-z 0-9 . _ @ : -"
        )


def printable(path: str | os.PathLike[str]) -> str:
    """Return the path with all escaped that would steer a terminal, or that is no text."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
