"""The limits of a note, for the table's constraints, the API, the admin and the commands."""

from typing import Final

TITLE_MAX_CHARACTERS: Final = 200
CONTENT_MAX_CHARACTERS: Final = 100_000
BULK_MAX_NOTES: Final = 100
