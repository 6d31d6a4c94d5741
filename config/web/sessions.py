"""Django's middlewares for people with a session; a call of the API without a cookie passes them by."""

import re
from collections.abc import Mapping
from typing import Final

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

_is_key: Final = re.compile("[a-z0-9]{32}").fullmatch  # as Django makes them


def session_key_of(cookies: Mapping[str, str]) -> str | None:
    """Return the key of a session; None where the cookie has none, but what a store might not even take."""
    key = cookies.get(settings.SESSION_COOKIE_NAME, "")
    return key if _is_key(key) else None


class _WhereNeeded(MiddlewareMixin):
    """
    Skip the middleware for calls that cannot have a session.

    Staff endpoints look for one, and say so (Vary: Cookie).
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if (
            not request.META.get("HTTP_COOKIE")
            and path.startswith("/api/v1/")
            and not path.startswith("/api/v1/admin/")
        ):
            return self.get_response(request)  # type: ignore[return-value]  # the site is not asynchronous
        return super().__call__(request)  # type: ignore[return-value]


class SessionMiddleware(_WhereNeeded, sessions.SessionMiddleware):
    """Gives a request its session."""

    def process_request(self, request: HttpRequest) -> None:
        request.session = self.SessionStore(session_key_of(request.COOKIES))


class AuthenticationMiddleware(_WhereNeeded, auth.AuthenticationMiddleware):
    """Gives a request the user of its session; the API has callers of its own."""


class MessageMiddleware(_WhereNeeded, messages.MessageMiddleware):
    """Gives a request the messages of the admin."""
