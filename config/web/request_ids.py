"""The id of each request: the caller's own, where it is safe, else a new one."""

import random
import re
from collections.abc import Mapping
from typing import Any, Final

REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9._~:/+=@-]{1,128}$"  # safe to repeat and to log
_is_safe: Final = re.compile(REQUEST_ID_PATTERN).fullmatch
_random_bits: Final = (
    random.getrandbits
)  # it names, and keeps nothing secret; seeded anew after a fork


def request_id_of(environ: Mapping[str, Any]) -> str:
    """Return the caller's X-Request-ID where it is safe to repeat and to log, else a new one."""
    request_id: str | None = environ.get("HTTP_X_REQUEST_ID")
    if request_id is not None and _is_safe(request_id):
        return request_id
    return f"{_random_bits(128):032x}"
