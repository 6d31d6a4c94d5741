"""Who may do what: DRF's classes around the identity of a request (callers.py), and the rules of READS."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from config.web.callers import Unauthorized, identity_of_settings, operator


class UserIdAuthentication(BaseAuthentication):
    """
    The user who calls, as AUTHENTICATION has it; for reads also staff.

    Raises Unauthorized where nobody is named: for a write always, for a read where READS=owner.
    """

    staff_may_write = False
    is_public = False  # also to nobody, where READS=owner

    def authenticate(self, request: Request) -> tuple[Any, None]:
        is_safe = request.method in SAFE_METHODS
        caller = identity_of_settings().caller(request, for_staff=is_safe or self.staff_may_write)
        is_open = settings.READS == "open" or self.is_public or request.method == "OPTIONS"
        needs_one = not (is_safe and is_open)
        if needs_one and not caller.is_authenticated:
            raise Unauthorized
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        """Return what makes of a refusal a 401, whose challenge is that of Unauthorized."""
        return "Bearer"


class PublicAuthentication(UserIdAuthentication):
    """Whoever calls, also nobody: for what is of no user."""

    is_public = True


class UserOrStaffAuthentication(UserIdAuthentication):
    """The user who calls; for writes also staff, who may write for anyone."""

    staff_may_write = True


class StaffAuthentication(BaseAuthentication):
    """
    Staff: by ADMIN_TOKEN as a bearer token, or by a Django session.

    Without a token in the settings only sessions count; they need the CSRF token.
    """

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the caller, None without credentials. Raises PermissionDenied for wrong ones, ValidationError."""
        caller = operator(request)
        if caller is not None and settings.AUTHENTICATION == "stub":
            identity_of_settings().caller(
                request, for_staff=False
            )  # a malformed X-User-Id is a 400
        return None if caller is None else (caller, None)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class IsStaff(BasePermission):
    """Staff may pass; anyone else gets a 401 without credentials, a 403 with wrong ones."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(getattr(request.user, "is_staff", False))  # None: without credentials


class NotReadable(PermissionDenied):
    """A 403: READS=owner leaves this to its own user and to staff."""

    kind = "not-owner"
    default_detail = "This belongs to another user."


def only_readable_user(request: Request | HttpRequest) -> str | None:
    """Return the only user whose data the caller may read, None where it may read that of all."""
    if settings.READS == "open" or request.user.is_staff:
        return None
    user_id: str = request.user.get_username()
    return user_id
