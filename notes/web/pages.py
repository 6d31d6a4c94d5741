"""What every page does: its caller, its reads through the cache, its errors, its headers, its data layer panel."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views import View
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError

from cachelayer import http
from cachelayer.entries import Overloaded
from cachelayer.failures import unavailable_store
from cachelayer.http import PreconditionFailed, Representation
from cachelayer.read import CachedRead
from config.web import browser_user, data_layer, problems
from config.web.authentication import NotReadable, only_readable_user
from config.web.callers import Caller, ProviderUnavailable, Unauthorized
from config.web.data_layer import ReadReport
from notes import selectors, services
from notes.records import NoteRecord

_note: Final = msgspec.json.Decoder(NoteRecord)


class Failure(NamedTuple):
    """Why a page does not show what it was to show: one message for each mistake."""

    status: HTTPStatus
    title: str
    messages: tuple[str, ...]
    store: str = ""  # that does not answer


class Page(View):
    """A page, for the caller of a browser. An error that the API has an answer to is a page, too."""

    caller: Any  # a Caller, or one of Django's own users

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.reads: list[ReadReport] = []
        self.caller = Caller("")
        try:
            self.caller = browser_user.caller_of(request)
            request.user = self.caller  # whose events are recorded
            response = super().dispatch(request, *args, **kwargs)
        except Exception as exc:  # noqa: BLE001  # raised again where there is no answer to it
            failure = failure_of(request, exc)
            response = self.failed(failure)
            if isinstance(exc, Unauthorized):
                response.headers["WWW-Authenticate"] = exc.challenge
        response.headers["Content-Security-Policy"] = problems.PAGE_POLICY
        response.headers["Cache-Control"] = http.CACHE_CONTROL
        return response

    def failed(self, failure: Failure) -> HttpResponse:
        """Return what is shown in the place of the page."""
        return self.show("notes/failure.html", {"failure": failure}, status=failure.status)

    def read(self, source: CachedRead[Representation]) -> Representation | None:
        """Return what source reads, past the cache where the request says so; the panel shows how."""
        bypass = http.bypass_of(
            self.request.META.get("HTTP_CACHE_CONTROL", ""),
            cache_parameter=self.request.GET.get("cache"),
        )
        cached = source.get(bypass=bypass)
        self.reads.append(data_layer.read_report(source.key, cached))
        self.source = cached.source
        return cached.value

    def note(self, note_id: UUID) -> tuple[NoteRecord, str]:
        """Return the note and its ETag. Raises NoteNotFound, NotReadable."""
        stored = self.read(selectors.note_read(note_id=note_id))
        if stored is None:
            raise services.NoteNotFound(f"There is no note {note_id}.")
        note = _note.decode(stored.body)
        if self.only_user not in (None, note.user_id):
            raise NotReadable("The note belongs to another user.")
        return note, stored.etag

    @property
    def only_user(self) -> str | None:
        """The only user whose notes the caller may read, None where it may read all (READS)."""
        return only_readable_user(self.request)

    def own_note(self, note_id: UUID) -> tuple[NoteRecord, str]:
        """Return the caller's note and its ETag. Raises NoteNotFound, NotOwner."""
        note, etag = self.note(note_id)
        if note.user_id != self.caller.get_username():
            raise services.NotOwner(
                f"The note belongs to {note.user_id}; you are {self.caller.get_username()}."
            )
        return note, etag

    def show(
        self, template: str, context: Mapping[str, Any], *, status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        """Return a page with the panel."""
        request = self.request
        response = render(
            request,
            template,
            {
                **context,
                "caller": self.caller,
                "may_choose_user": browser_user.may_choose(request),
                "signs_in": _signs_in(),
                "report": data_layer.report(request, self.reads),
                "write": data_layer.write_before(request),
            },
            status=status,
        )
        data_layer.forget_write(request, response)
        if self.reads:
            response.headers["Cache-Status"] = self.reads[-1].cache_status
            response.cache_source = self.source  # type: ignore[attr-defined]  # read by config.web.durations
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(problems.RETRY_AFTER_SECONDS)
        return response

    def written(self, route: str, **arguments: Any) -> HttpResponse:
        """Return what leads from a write to the page of that route (RFC 9110, 15.4.4)."""
        response = HttpResponseRedirect(reverse(route, kwargs=arguments or None))
        response.status_code = HTTPStatus.SEE_OTHER
        data_layer.leave_for_next(self.request, response)
        return response


def _signs_in() -> bool:
    """Return whether any account may sign in by a page: elsewhere sessions are staff's alone."""
    return bool(settings.AUTHENTICATION == "session")


# The first that fits.
_ANSWERS: Final[tuple[tuple[type[Exception], HTTPStatus, str], ...]] = (
    (services.NoteNotFound, HTTPStatus.NOT_FOUND, "There is no such note"),
    (services.NotOwner, HTTPStatus.FORBIDDEN, "This is another user's note"),
    (NotReadable, HTTPStatus.FORBIDDEN, "This is another user's note"),
    (PreconditionFailed, HTTPStatus.PRECONDITION_FAILED, "The note has changed"),
    (ValidationError, HTTPStatus.BAD_REQUEST, "This cannot be read"),
    (Unauthorized, HTTPStatus.UNAUTHORIZED, "This is for known users"),
    (PermissionDenied, HTTPStatus.FORBIDDEN, "This is not allowed"),
    (ProviderUnavailable, HTTPStatus.SERVICE_UNAVAILABLE, "The identity provider does not answer"),
    (Overloaded, HTTPStatus.SERVICE_UNAVAILABLE, "Too much at once"),
)


def failure_of(request: HttpRequest, exc: Exception) -> Failure:
    """Return what a page says of an error. Raises exc where that is a bug of the site."""
    for kind, status, title in _ANSWERS:
        if isinstance(exc, kind):
            return Failure(status, title, _messages(exc))
    store = unavailable_store(exc)
    if store is None:
        raise exc
    detail = problems.of_unavailable_store(request, store, exc)["detail"]
    return Failure(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{data_layer.STORES[store]} does not answer",
        (detail, "Try again in a moment: a form that is sent twice is written once."),
        store,
    )


def _messages(exc: Exception) -> tuple[str, ...]:
    match exc:
        case PreconditionFailed():
            return ("The note has changed since you read it. Nothing was written.",)
        case ValidationError():
            detail: Any = exc.detail
            return tuple(
                f"{name}: {' '.join(map(str, mistakes))}" for name, mistakes in detail.items()
            )
        case Unauthorized():
            page = reverse("sign-in" if _signs_in() else "admin:login")
            return (f"{exc.detail} Sign in at {page}, or send a token.",)
        case APIException():
            return (str(exc.detail),)
        case _:
            return (str(exc),)
