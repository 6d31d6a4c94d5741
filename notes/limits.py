"""What a note may be, for the table's constraints and for every way in."""

from typing import Final

TITLE_MAX_CHARACTERS: Final = 200
CONTENT_MAX_CHARACTERS: Final = 100_000
USER_ID_PATTERN: Final = r"^[A-Za-z0-9._@:-]{1,128}$"
# Whoever may have new notes: who may call (see config/web/authentication.py).
NEW_USER_ID_PATTERN: Final = USER_ID_PATTERN.replace("^", r"^(?!(?:\.|\.\.|recent|trend)$)")
