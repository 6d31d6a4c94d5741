"""What a note may be, for the table's constraints and for every way in."""

from typing import Final

TITLE_MAX_CHARACTERS: Final = 200
CONTENT_MAX_CHARACTERS: Final = 100_000
