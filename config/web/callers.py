"""
Who sends a request: one class decides it, for Django's views, the edge and the rate limits alike.

AUTHENTICATION names which: StubIdentity trusts a header, TokenIdentity verifies tokens of an identity provider,
SessionIdentity looks for a session of the admin. What a caller may read is in authentication.py
(docs/adr/0028-identity.md).
"""

from __future__ import annotations

import functools
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.cached_db import SessionStore
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import parse_cookie
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    PermissionDenied,
    ValidationError,
)
from rest_framework.permissions import SAFE_METHODS

from config.web.sessions import session_key_of
from config.web.user_ids import NEW_USER_ID_PATTERN, RESERVED_USER_IDS, USER_ID_RULE

if TYPE_CHECKING:
    from rest_framework.request import Request

    from config.web.tokens import TokenRules

Environ = Mapping[str, Any]

DEFAULT_USER_ID: Final = "demo"
is_user_id: Final = re.compile(NEW_USER_ID_PATTERN).fullmatch  # of a caller
_REALM: Final = 'Bearer realm="trilith"'
_KEPT_MAX: Final = 10_000  # user ids, or verified tokens
_KEPT_CHARACTERS_MAX: Final = 8_192  # of a field with a token; spaces make it as long as one likes


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


ANONYMOUS: Final = Caller("anonymous", is_authenticated=False, is_active=False)
STAFF: Final = Caller("admin-token", is_staff=True)
# No user of an identity provider, nor of a session, has these.
_RESERVED: Final = (ANONYMOUS.user_id, STAFF.user_id)


class Unauthorized(AuthenticationFailed):
    """A 401 with its challenge (RFC 6750, 3): with an error where there is a token, else without."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "This needs credentials.")
        self.kind = "invalid-token" if reason else "unauthenticated"
        self.challenge = _REALM
        if reason:
            self.challenge += f', error="invalid_token", error_description="{reason}"'


class ProviderUnavailable(APIException):
    """A 503: the identity provider's keys cannot be fetched, and that of the token is not known."""

    status_code = 503
    kind = "identity-provider-unavailable"

    def __init__(self, reason: str, *, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.wait = retry_after_seconds  # which DRF sends


def bearer_token(header: str | None) -> str | None:
    """Return the token of an Authorization field, None where the scheme is another."""
    # RFC 9110, 11.4: one or more spaces; white space at the ends is not part of the value (5.5).
    scheme, _, token = (header or "").strip(" \t").partition(" ")
    return token.lstrip(" ") if scheme.lower() == "bearer" else None


def is_admin_token(token: str | None) -> bool:
    """Return whether this is ADMIN_TOKEN, compared in constant time."""
    expected = settings.ADMIN_TOKEN
    return bool(expected) and token is not None and constant_time_compare(token, expected)


def operator(request: Request) -> Any | None:
    """
    Return staff by ADMIN_TOKEN, else the user of a Django session, None without credentials.

    A session needs the CSRF token for writes. Raises PermissionDenied for wrong credentials.
    """
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return session_user(request)
    if not is_admin_token(bearer_token(header)):
        raise PermissionDenied("These credentials are not those of staff.")
    return STAFF


def session_user(request: Request) -> Any | None:
    """Return the user of a Django session, None without one. Raises PermissionDenied without CSRF token."""
    authenticated = SessionAuthentication().authenticate(request)
    return None if authenticated is None else authenticated[0]


class Identity(ABC):
    """Who sends a request. Each method decides it alike; they differ in what it may cost."""

    # Fields that name the caller, so that the edge need not leave their requests to Django.
    fields_at_edge: ClassVar[frozenset[str]] = frozenset()
    # Where the edge looks before it calls user_id_at_edge, which would cost a hit some percent: user ids by
    # the value of this field, or by that which stands for its absence.
    field: ClassVar[str] = ""
    absent: ClassVar[str] = ""
    vary: ClassVar[str] = (
        "Authorization, Cookie"  # what a reply depends on that not everyone may read
    )

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    @abstractmethod
    def user_id_at_edge(self, environ: Environ) -> str | None:
        """
        Return the user id, without any server and any parsing; None where that takes more, or is refused.

        environ has none of the fields that are unusual at the edge but fields_at_edge. Staff are None.
        """

    @abstractmethod
    def counted_as(self, environ: Environ) -> str | None:
        """Return the name under which rate limits count the request, None where authentication refuses it."""

    @abstractmethod
    def caller(self, request: Request, *, for_staff: bool) -> Caller | Any:
        """
        Return the caller, ANONYMOUS where the request names none.

        for_staff: staff may make this request, too. Raises ValidationError, Unauthorized, PermissionDenied,
        ProviderUnavailable.
        """


class StubIdentity(Identity):
    """
    Trusts the header X-User-Id: a stand-in for an identity provider.

    In WSGI, X_User_Id has the same name, and granian keeps the last: a proxy that sets the caller
    must drop header names with underscores, as those in config/deploy do.
    """

    field, absent = "HTTP_X_USER_ID", DEFAULT_USER_ID
    vary = "X-User-Id, Authorization, Cookie"

    def user_id_at_edge(self, environ: Environ) -> str | None:
        user_id: str = environ.get("HTTP_X_USER_ID", DEFAULT_USER_ID)
        if user_id in self.known:
            return user_id
        if not is_user_id(user_id):
            return None
        if len(self.known) >= _KEPT_MAX:
            self.known.clear()
        self.known[user_id] = user_id
        return user_id

    counted_as = user_id_at_edge

    def caller(self, request: Request, *, for_staff: bool) -> Caller | Any:
        user_id = request.META.get("HTTP_X_USER_ID", DEFAULT_USER_ID)
        if user_id in RESERVED_USER_IDS:
            raise ValidationError({"X-User-Id": [f"{user_id} is reserved."]}, code="reserved")
        if not is_user_id(user_id):
            raise ValidationError({"X-User-Id": [f"Must be {USER_ID_RULE}"]}, code="invalid")
        # Open reads are the same for all: credentials change nothing there, and a hit needs no session.
        if (
            for_staff
            and (request.method not in SAFE_METHODS or settings.READS == "owner")
            and ("HTTP_AUTHORIZATION" in request.META or _has_session(request))
        ):
            staff = operator(request)
            if staff is not None and staff.is_staff:
                return staff
        return Caller(user_id)


class TokenIdentity(Identity):
    """
    Verifies the bearer token (RFC 6750), whose subject is the user id; ADMIN_TOKEN and sessions are staff's.

    A token that was verified is known for JWT_JWKS_REFRESH_SECONDS at most, so that a key that the provider
    has taken back does not verify tokens for longer than twice that.
    """

    fields_at_edge = frozenset({"HTTP_AUTHORIZATION"})

    def __init__(self, rules: TokenRules) -> None:
        from config.web.tokens import TokenVerifier  # noqa: PLC0415  # cryptography: 60 ms, for jwt alone

        super().__init__()
        self._verifier = TokenVerifier(rules)
        self._known_seconds = rules.refresh_seconds
        self._verified: dict[str, tuple[str, float]] = {}  # by Authorization: user id, until when

    def user_id_at_edge(self, environ: Environ) -> str | None:
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            return _anonymous_reader()
        known = self._verified.get(header)
        return known[0] if known is not None and time.time() < known[1] else None

    def counted_as(self, environ: Environ) -> str | None:
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            return ANONYMOUS.user_id
        if is_admin_token(bearer_token(header)):
            return STAFF.user_id
        try:
            return self._user_id(header, may_wait=False)
        except (Unauthorized, ProviderUnavailable):
            return None

    def caller(self, request: Request, *, for_staff: bool) -> Caller | Any:
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            if for_staff and _has_session(request):
                user = session_user(request)
                if user is not None and user.is_staff:
                    return user
            return ANONYMOUS
        if is_admin_token(bearer_token(header)):
            return _staff(for_staff=for_staff)
        return Caller(self._user_id(header, may_wait=True))

    def _user_id(self, header: str, *, may_wait: bool) -> str:
        from config.web.token_keys import KeysUnavailable  # noqa: PLC0415  # as above
        from config.web.tokens import TokenRejected  # noqa: PLC0415

        known = self.user_id_at_edge({"HTTP_AUTHORIZATION": header})
        if known is not None:
            return known
        token = bearer_token(header)
        if token is None:  # RFC 6750, 3.1: of another scheme, so without an error
            raise Unauthorized
        try:
            verified = self._verifier.verify(token, may_wait=may_wait)
        except TokenRejected as exc:
            raise Unauthorized(str(exc)) from exc
        except KeysUnavailable as exc:
            raise ProviderUnavailable(
                str(exc), retry_after_seconds=exc.retry_after_seconds
            ) from exc
        user_id = verified.subject
        if not is_user_id(user_id) or user_id in _RESERVED:
            raise Unauthorized("The subject of the token is no user id.")
        if len(header) <= _KEPT_CHARACTERS_MAX:
            if len(self._verified) >= _KEPT_MAX:
                self._verified.clear()
            until = min(verified.ends_at, time.time() + self._known_seconds)
            self._verified[header] = user_id, until
        return user_id


class SessionIdentity(Identity):
    """The user of a Django session, as of the admin, with its CSRF token for writes; or ADMIN_TOKEN."""

    def user_id_at_edge(self, environ: Environ) -> str | None:
        return _anonymous_reader()

    def counted_as(self, environ: Environ) -> str | None:
        """Return the account of the session, unless it cannot be looked up; its user id takes PostgreSQL."""
        header = environ.get("HTTP_AUTHORIZATION")
        if header is not None:
            return STAFF.user_id if is_admin_token(bearer_token(header)) else None
        cookie = environ.get("HTTP_COOKIE")
        session = session_key_of(parse_cookie(cookie)) if cookie else None
        if not session:
            return ANONYMOUS.user_id
        try:
            account = SessionStore(session).get(SESSION_KEY)
        except (DatabaseError, InterfaceError):
            return None
        finally:
            close_old_connections()
        return ANONYMOUS.user_id if account is None else f"session:{account}"

    def caller(self, request: Request, *, for_staff: bool) -> Caller | Any:
        user = operator(request)
        if user is None:
            return ANONYMOUS
        if user is STAFF:
            return _staff(for_staff=for_staff)
        user_id = user.get_username()
        if not is_user_id(user_id) or user_id in _RESERVED:
            raise PermissionDenied(
                f"The name of this account is no user id: {USER_ID_RULE}, none of them reserved."
            )
        return Caller(user_id, is_staff=user.is_staff)


def identity_of_settings() -> Identity:
    """Return the identity of AUTHENTICATION."""
    return _identity(settings.AUTHENTICATION, settings.JWT)


@functools.lru_cache(maxsize=4)
def _identity(name: str, rules: TokenRules | None) -> Identity:
    if name == "jwt":
        assert rules is not None  # noqa: S101  # the settings have them then
        return TokenIdentity(rules)
    return SessionIdentity() if name == "session" else StubIdentity()


def _anonymous_reader() -> str | None:
    return ANONYMOUS.user_id if settings.READS == "open" else None


def _has_session(request: Request) -> bool:
    return session_key_of(request.COOKIES) is not None


def _staff(*, for_staff: bool) -> Caller:
    """Return staff. Raises PermissionDenied where only a user may make the request."""
    if not for_staff:
        raise PermissionDenied("ADMIN_TOKEN is of no user, and only a user may do this.")
    return STAFF
