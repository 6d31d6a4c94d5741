"""
The header Idempotency-Key of a POST, by which its repetition is recognized.

draft-ietf-httpapi-idempotency-key-header-07: the value is a string in quotes (RFC 9651, 3.3.3). Without
quotes it is understood, too, since that is how most clients send it.
"""

import hashlib
import re
from typing import Any, Final

import msgspec
from django.http import HttpResponse
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from cachelayer.idempotency import IdempotentRequest

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_MAX_CHARACTERS: Final = 255
KEY_PATTERN: Final = rf'^("([ !#-\[\]-~]|\\["\\]){{1,{_MAX_CHARACTERS}}}"|[!#-+\--:<-\[\]-~]{{1,{_MAX_CHARACTERS}}})$'
_is_key: Final = re.compile(KEY_PATTERN).fullmatch
_KEY_RULE: Final = (
    f"1 to {_MAX_CHARACTERS} printable ASCII characters in quotes; the quotes may be left out where there is"
    " no space, comma, semicolon, backslash or quote among them."
)


def idempotent_request(request: Request) -> IdempotentRequest | None:
    """
    Return the key of a request, with a fingerprint of its method, path and body; None without a key.

    JSON that differs in white space or in the order of members alone has the same fingerprint. Raises
    ValidationError where the key is malformed.
    """
    field = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if field is None:
        return None
    field = field.strip(" \t")
    if not _is_key(field):
        raise ValidationError({HEADER: [ErrorDetail(f"Must be {_KEY_RULE}", "invalid")]})
    key = re.sub(r'\\(["\\])', r"\1", field[1:-1]) if field.startswith('"') else field
    fingerprint = _fingerprint([request.method, request.path, request.data])
    return IdempotentRequest(request.user.get_username(), key, fingerprint)


def marked(response: HttpResponse, *, replayed: bool) -> HttpResponse:
    """Return the reply, marked where it repeats an earlier one: then nothing was written."""
    if replayed:
        response.headers[REPLAYED] = "true"
    return response


def _fingerprint(parts: Any) -> bytes:
    encoded = msgspec.json.encode(parts, order="sorted")
    return hashlib.blake2b(encoded, digest_size=32).digest()
