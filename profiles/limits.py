"""What a profile may be, for every way in."""

import re
from typing import Final

USER_ID_PATTERN: Final = r"^[A-Za-z0-9._@:-]{1,128}$"
# Path segments of their own, as in GET /profiles/mongo/{user_id}, and what no user is called (see
# config/web/authentication.py).
RESERVED_USER_IDS: Final = (".", "..", "mongo", "postgres", "recent", "trend")
NEW_USER_ID_PATTERN: Final = USER_ID_PATTERN.replace(
    "^", rf"^(?!(?:{'|'.join(map(re.escape, RESERVED_USER_IDS))})$)"
)
EMAIL_MAX_BYTES: Final = 254  # RFC 5321, as erratum 1690 to RFC 3696 corrects it
THEMES: Final = ("light", "dark", "system")
PREFERENCE_KEY_PATTERN: Final = r"^[^$.\u0000][^.\u0000]*$"
PREFERENCE_KEYS_MAX: Final = 64  # in all, nested ones included
PREFERENCE_LEVELS_MAX: Final = 5  # preferences itself is the first
PREFERENCES_BYTES_MAX: Final = 16 * 1024  # as BSON, which is how they are stored
LANGUAGE_MAX_CHARACTERS: Final = 255  # RFC 5646, 4.4.1 asks for 35 at least
