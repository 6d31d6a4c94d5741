"""
Who is calling from a browser, which cannot set X-User-Id: the id that was chosen on the page.

It is as much a stand-in as the header: nobody is asked for a password. A real identity provider
replaces both (authentication.py).
"""

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from config.web.authentication import DEFAULT_USER_ID, Caller, UserIdAuthentication, is_user_id

_COOKIE: Final = "trilith_user"  # signed, so that what is read from it was validated before
_SALT: Final = "browser_user"
_AGE_SECONDS_MAX: Final = 30 * 86_400


def may_choose(request: HttpRequest) -> bool:
    """Return whether the cookie says who is calling: not where X-User-Id does, nor where a proxy alone may."""
    return settings.BROWSER_USER_CHOICE and "HTTP_X_USER_ID" not in request.META


def caller_of(request: HttpRequest) -> Caller:
    """Return the user of the header, else of the cookie where it counts, else demo. Raises ValidationError for the header."""
    if not may_choose(request):
        return UserIdAuthentication().authenticate(Request(request))[0]
    chosen = request.get_signed_cookie(_COOKIE, "", salt=_SALT, max_age=_AGE_SECONDS_MAX)
    return Caller(chosen if chosen and is_user_id(chosen) else DEFAULT_USER_ID)


def remember(response: HttpResponse, user_id: str) -> None:
    """Let later requests of the browser be of this user, whose id is valid."""
    response.set_signed_cookie(
        _COOKIE,
        user_id,
        salt=_SALT,
        max_age=_AGE_SECONDS_MAX,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
