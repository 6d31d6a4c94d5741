"""What a profile may be, for every way in."""

import re
from typing import Final

USER_ID_PATTERN: Final = r"^[A-Za-z0-9._@:-]{1,128}$"
# Path segments of their own: GET /profiles/mongo/{user_id}.
RESERVED_USER_IDS: Final = frozenset({"mongo", "postgres"})
EMAIL_MAX_CHARACTERS: Final = 254  # RFC 5321, as erratum 1690 to RFC 3696 corrects it
THEMES: Final = ("light", "dark", "system")
PREFERENCE_KEY_PATTERN: Final = r"^[^$.\u0000][^.\u0000]*$"
PREFERENCE_KEYS_MAX: Final = 64  # in all, nested ones included
PREFERENCE_LEVELS_MAX: Final = 5  # preferences itself is the first
PREFERENCES_BYTES_MAX: Final = 16 * 1024  # as BSON, which is how they are stored
# RFC 5646, section 2.1, without its few irregular grandfathered tags.
LANGUAGE_TAG: Final = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"  # language
    r"(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"  # script, region
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"  # variants
    r"(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"  # extensions, private use
    r"|x(?:-[a-z0-9]{1,8})+",
    re.IGNORECASE,
)
LANGUAGE_MAX_CHARACTERS: Final = 64
LANGUAGE_PATTERN: Final = (
    "^(" + re.sub("a-(w|z)", lambda m: f"a-{m[1]}A-{m[1].upper()}", LANGUAGE_TAG.pattern) + ")$"
)
