"""What a user id is, and which ones nobody may have: one rule for every way in."""

import re
from collections.abc import Iterable
from typing import Final

USER_ID_PATTERN: Final = r"^[A-Za-z0-9._@:-]{1,128}$"
USER_ID_RULE: Final = "1 to 128 characters of A-Z a-z 0-9 . _ @ : -"
# The activity of such a user could not be read: clients resolve . and .. away (RFC 3986, 5.2.4),
# and /activity/recent and /activity/trend are about all users.
RESERVED_USER_IDS: Final = (".", "..", "recent", "trend")


def pattern_without(reserved: Iterable[str]) -> str:
    """Return the pattern of every user id but the reserved ones."""
    return USER_ID_PATTERN.replace("^", rf"^(?!(?:{'|'.join(map(re.escape, reserved))})$)")


# Ids that may call the API, and so create notes.
NEW_USER_ID_PATTERN: Final = pattern_without(RESERVED_USER_IDS)
