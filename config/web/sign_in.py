"""Signing in and out where AUTHENTICATION=session: the admin's own page refuses accounts that are not staff's."""

from typing import Any

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views import View

from config.web.problems import PAGE_POLICY


class _OfSessions(View):
    """A page that there is only where sessions say who calls."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.AUTHENTICATION != "session":
            raise Http404
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response


class SignIn(_OfSessions, LoginView):
    """Asks for name and password of an account, and gives the browser a session."""

    template_name = "sign_in.html"
    next_page = "home"


class SignOut(_OfSessions, LogoutView):  # type: ignore[misc]  # whose dispatch is decorated
    """Ends the session of the browser."""

    next_page = "home"
