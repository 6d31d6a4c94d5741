"""The limits of a profile, for the API, the admin and the commands."""

from typing import Final

from config.web import user_ids

# Besides those of every caller, path segments: GET /profiles/mongo/{user_id}.
RESERVED_USER_IDS: Final = sorted((*user_ids.RESERVED_USER_IDS, "mongo", "postgres"))
NEW_USER_ID_PATTERN: Final = user_ids.pattern_without(RESERVED_USER_IDS)
EMAIL_MAX_BYTES: Final = 254  # RFC 5321, as erratum 1690 to RFC 3696 corrects it
THEMES: Final = ("light", "dark", "system")
PREFERENCE_KEY_PATTERN: Final = r"^[^$.\u0000][^.\u0000]*$"
PREFERENCE_KEYS_MAX: Final = 64  # in all, nested ones included
PREFERENCE_REMOVALS_MAX: Final = 1_000  # nulls of one merge patch
PREFERENCE_LEVELS_MAX: Final = 5  # preferences itself is the first
PREFERENCES_BYTES_MAX: Final = 16 * 1024  # as BSON, which is how they are stored
LANGUAGE_MAX_CHARACTERS: Final = 255  # RFC 5646, 4.4.1 asks for 35 at least
