"""Arguments and printable names, shared by the commands that import and export notes."""

import argparse
import os
import re
from pathlib import Path
from typing import Final

from django.core.management.base import CommandError

from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE

INTERRUPTED: Final = 130  # exit status, as a shell has it for SIGINT


def path_argument(text: str) -> Path:
    """Return the path; an empty path is refused, since Path("") is the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text)


def refuse_user_id(user_id: str, pattern: str = USER_ID_PATTERN) -> None:
    """Raise CommandError where the user id does not match the pattern."""
    if not re.fullmatch(pattern, user_id):
        reserved = "is reserved" if re.fullmatch(USER_ID_PATTERN, user_id) else USER_ID_RULE
        raise CommandError(f"--user-id {printable(user_id)}: {reserved}")


def printable(path: str | os.PathLike[str]) -> str:
    """Return the path with control characters and undecodable bytes escaped."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
