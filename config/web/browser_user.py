"""
Who is calling from a browser, which cannot set X-User-Id: the id that was chosen on the page.

It is as much a stand-in as the header: nobody is asked for a password. Where AUTHENTICATION is not stub,
neither counts, and a page has the caller that the API would have (callers.py).
"""

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.parsers import FormParser
from rest_framework.request import Request

from config.web.authentication import UserIdAuthentication
from config.web.callers import DEFAULT_USER_ID, Caller, is_user_id

_COOKIE: Final = "trilith_user"  # signed, so that what is read from it was validated before
_SALT: Final = "browser_user"
_AGE_SECONDS_MAX: Final = 30 * 86_400


def may_choose(request: HttpRequest) -> bool:
    """Return whether the cookie says who is calling: in place of X-User-Id, and only where anybody may send that."""
    return (
        settings.AUTHENTICATION == "stub"
        and settings.BROWSER_USER_CHOICE
        and "HTTP_X_USER_ID" not in request.META
    )


def caller_of(request: HttpRequest) -> Any:
    """Return the user of the cookie where it counts, else as the API has it. Raises what UserIdAuthentication raises."""
    if not may_choose(request):
        parsed = Request(request, parsers=[FormParser()])  # for the CSRF token of a form
        return UserIdAuthentication().authenticate(parsed)[0]
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
