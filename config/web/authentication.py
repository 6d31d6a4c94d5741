"""Who is calling: a stand-in for an identity provider, in one class for the real one to replace."""

import re
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from config.web.user_ids import NEW_USER_ID_PATTERN, RESERVED_USER_IDS, USER_ID_RULE

DEFAULT_USER_ID: Final = "demo"
is_user_id: Final = re.compile(NEW_USER_ID_PATTERN).fullmatch  # of a caller


@dataclass(frozen=True)
class Caller:
    """The user on whose behalf a request is made."""

    user_id: str
    is_authenticated: bool = True
    is_active: bool = True
    is_staff: bool = False

    def get_username(self) -> str:
        """Return the user id, by the name that Django's own users have."""
        return self.user_id


class UserIdAuthentication(BaseAuthentication):
    """
    Trust the header X-User-Id. Raises ValidationError where it is malformed.

    In WSGI, X_User_Id has the same name, and granian keeps the last: a proxy that sets the caller
    must drop header names with underscores, as those in config/deploy do.
    """

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        user_id = request.META.get("HTTP_X_USER_ID", DEFAULT_USER_ID)
        if user_id in RESERVED_USER_IDS:
            raise ValidationError({"X-User-Id": [f"{user_id} is reserved."]}, code="reserved")
        if not is_user_id(user_id):
            raise ValidationError(
                {"X-User-Id": [f"Must be {USER_ID_RULE}"]},
                code="invalid",
            )
        return Caller(user_id), None


class StaffAuthentication(BaseAuthentication):
    """
    Staff: by ADMIN_TOKEN as a bearer token, or by a Django session.

    Without a token in the settings only sessions count; they need the CSRF token.
    """

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the caller, None without credentials. Raises PermissionDenied for wrong ones."""
        header = request.headers.get("Authorization")
        if header is None:
            return SessionAuthentication().authenticate(request)
        # RFC 9110, 11.4: one or more spaces; white space at the ends is not part of the value (5.5).
        scheme, _, token = header.strip(" \t").partition(" ")
        token = token.lstrip(" ")
        expected = settings.ADMIN_TOKEN
        if scheme.lower() != "bearer" or not expected or not constant_time_compare(token, expected):
            raise PermissionDenied("These credentials are not those of staff.")
        return Caller("admin-token", is_staff=True), None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class UserOrStaffAuthentication(UserIdAuthentication):
    """
    The user of X-User-Id; for writes also staff, who may write for anyone.

    Reads are open, so credentials change nothing there, and a hit needs no session.
    """

    def authenticate(self, request: Request) -> tuple[Any, None]:
        user = super().authenticate(request)
        if request.method not in SAFE_METHODS and _has_credentials(request):
            staff = StaffAuthentication().authenticate(request)
            if staff is not None and staff[0].is_staff:
                return staff
        return user


def _has_credentials(request: Request) -> bool:
    return "Authorization" in request.headers or settings.SESSION_COOKIE_NAME in request.COOKIES


class IsStaff(BasePermission):
    """Staff may pass; anyone else gets a 401 without credentials, a 403 with wrong ones."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(getattr(request.user, "is_staff", False))  # None: without credentials
