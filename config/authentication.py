"""Who is calling: a stub for a real identity provider, in one class that a real one replaces."""

import re
from dataclasses import dataclass

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

DEFAULT_USER_ID = "demo"
_USER_ID = re.compile(r"[A-Za-z0-9._@:-]{1,128}")


@dataclass(frozen=True)
class Caller:
    """The user on whose behalf a request is made."""

    user_id: str
    is_authenticated: bool = True
    is_active: bool = True
    is_staff: bool = False

    def get_username(self) -> str:
        """Return the user id, by the name that Django's own users have for it."""
        return self.user_id


class UserIdAuthentication(BaseAuthentication):
    """Believe the header X-User-Id. Raises ValidationError where it is malformed."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        user_id = request.headers.get("X-User-Id", DEFAULT_USER_ID)
        if not _USER_ID.fullmatch(user_id):
            raise ValidationError(
                {"X-User-Id": ["Must be 1 to 128 characters of A-Z a-z 0-9 . _ @ : -"]},
                code="invalid",
            )
        return Caller(user_id), None
