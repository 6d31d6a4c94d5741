"""The pages of notes: list and search, one note, its form, its deletion, and the choice of a user."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import ValidationError

from cachelayer.http import PreconditionFailed, Preconditions
from config.web import browser_user
from config.web.callers import is_user_id
from config.web.user_ids import USER_ID_RULE
from notes import selectors, services
from notes.api.query import SEARCH_MAX_CHARACTERS, parse_list
from notes.api.serializers import NoteCreate, NoteReplace
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS
from notes.paging import DEFAULT_SORT
from notes.records import NoteRecord
from notes.web.drafts import Draft, differences
from notes.web.markdown import rendered
from notes.web.pages import Failure, Page, failure_of

_ORDERS: Final = {
    DEFAULT_SORT: "newest first",
    "created_at:ASC": "oldest first",
    "updated_at:DESC": "changed last",
    "title:ASC": "by title",
}


_SENT_BEFORE: Final = Failure(
    HTTPStatus.CONFLICT,
    "This note exists already",
    ("Its form was sent before, with another text. Nothing was written now.",),
)


class _NoteList(msgspec.Struct):
    """A stored page of a list, without its links."""

    results: list[NoteRecord]
    limit: int
    page: int | None = None
    count: int | None = None


_page = msgspec.json.Decoder(_NoteList)


# A POST is a 405, not a 403 for the lack of a token.
@method_decorator(csrf_exempt, name="dispatch")
class ListPage(Page):
    """The list of notes, by the API's own query string; and the links to all that is here."""

    def get(self, request: HttpRequest) -> HttpResponse:
        query_string = request.GET.copy()
        for name in ("q", "userId"):  # which the form sends empty where nothing was typed
            if not query_string.get(name, "").strip():
                query_string.pop(name, None)
        context: dict[str, Any] = {
            "search": query_string.get("q", "").replace("\0", "\ufffd"),  # no NUL may be in HTML
            "user_id": query_string.get("userId", "").replace("\0", "\ufffd"),
            "sort": query_string.get("sort", DEFAULT_SORT),
            "orders": _ORDERS,
            "search_characters_max": SEARCH_MAX_CHARACTERS,
        }
        try:
            stored = self.read(
                selectors.note_list_read(query=parse_list(query_string, only_user=self.only_user))
            )
        except Exception as exc:  # noqa: BLE001  # failure_of raises what it has no answer to
            failure = failure_of(request, exc)
            return self.show(
                "notes/list.html", {**context, "failure": failure}, status=failure.status
            )
        assert stored is not None  # noqa: S101  # a list there always is
        page = _page.decode(stored.body + b"}")
        return self.show(
            "notes/list.html",
            {
                **context,
                "page": page,
                "next_query": stored.next_query,
                "previous_query": stored.previous_query,
                "api_query": query_string.urlencode(),
                "past_cache_query": _past_cache(request),
            },
        )

    def http_method_not_allowed(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseNotAllowed:
        return HttpResponseNotAllowed(["GET", "HEAD"])


class NotePage(Page):
    """One note, as rendered Markdown."""

    def get(self, request: HttpRequest, note_id: UUID) -> HttpResponse:
        note, _ = self.note(note_id)
        return self.show(
            "notes/note.html",
            {
                "note": note,
                "html": rendered(note.content),
                "is_own": note.user_id == self.caller.get_username(),
                "past_cache_query": _past_cache(request),
            },
        )


class _FormPage(Page):
    """The form of a note, which never loses what was typed into it."""

    def form(
        self,
        draft: Draft,
        *,
        note_id: UUID | None = None,
        new_id: UUID | None = None,
        mistakes: dict[str, str] | None = None,
        failure: Failure | None = None,
        stored: NoteRecord | None = None,
    ) -> HttpResponse:
        """Show the draft: of the note note_id, else of a new one, which new_id names."""
        status = HTTPStatus.BAD_REQUEST if mistakes else HTTPStatus.OK
        return self.show(
            "notes/form.html",
            {
                "draft": draft.shown(),
                "note_id": note_id,
                "new_id": new_id or uuid4(),
                "mistakes": mistakes,
                "failure": failure,
                "stored": stored,
                "differences": differences(stored.content, draft.content) if stored else None,
                "title_characters_max": TITLE_MAX_CHARACTERS,
                "content_characters_max": CONTENT_MAX_CHARACTERS,
            },
            status=failure.status if failure else status,
        )

    def failed(self, failure: Failure) -> HttpResponse:
        if self.request.method != "POST":
            return super().failed(failure)
        return self.form(
            Draft.typed(self.request.POST),
            note_id=self.kwargs.get("note_id"),
            new_id=_parsed_id(self.request.POST.get("id", "")),
            failure=failure,
        )

    def beside_stored(self, note_id: UUID, draft: Draft, failure: Failure) -> HttpResponse:
        """
        Show the caller's note beside a draft that was not saved; to save that again replaces what is stored now.

        Lead to the note where it holds that very text.
        """
        try:
            stored, etag = self.own_note(note_id)
        except Exception as exc:  # noqa: BLE001  # failure_of raises what it has no answer to
            return self.form(draft, failure=failure_of(self.request, exc))  # as a new note
        if draft.is_stored_as(
            stored
        ):  # the form was sent twice; a 302, since this one wrote nothing
            return HttpResponseRedirect(reverse("page", kwargs={"note_id": note_id}))
        draft = Draft(draft.title, draft.content, etag)
        return self.form(draft, note_id=note_id, failure=failure, stored=stored)


class NewPage(_FormPage):
    """The form of a new note. It carries the note's id, so that to send it twice makes one note."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.form(Draft())

    def post(self, request: HttpRequest) -> HttpResponse:
        draft = Draft.typed(request.POST)
        note_id = _parsed_id(request.POST.get("id", ""))
        mistakes = draft.mistakes(NoteCreate)
        if mistakes:
            return self.form(draft, new_id=note_id, mistakes=mistakes)
        try:
            services.note_create(
                user_id=self.caller.get_username(),
                title=draft.title.strip(),
                content=draft.content,
                note_id=note_id,
            )
        except IntegrityError:
            return self.beside_stored(note_id, draft, _SENT_BEFORE)
        except Exception as exc:  # noqa: BLE001  # failure_of raises what it has no answer to
            return self.form(draft, new_id=note_id, failure=failure_of(request, exc))
        return self.written("page", note_id=note_id)


class EditPage(_FormPage):
    """The form of the caller's note. What was written since it was shown is not overwritten unseen."""

    def get(self, request: HttpRequest, note_id: UUID) -> HttpResponse:
        return self.form(Draft.of(*self.own_note(note_id)), note_id=note_id)

    def post(self, request: HttpRequest, note_id: UUID) -> HttpResponse:
        draft = Draft.typed(request.POST)
        mistakes = draft.mistakes(NoteReplace)
        if mistakes:
            return self.form(draft, note_id=note_id, mistakes=mistakes)
        try:
            note, etag = self.own_note(note_id)
            if draft.is_stored_as(note):  # also where the form was sent twice
                return HttpResponseRedirect(reverse("page", kwargs={"note_id": note_id}))
            if etag != draft.etag:
                raise PreconditionFailed  # noqa: TRY301  # as the service would, after one more statement
            services.note_update(
                note_id=note_id,
                caller=self.caller.get_username(),
                title=draft.title.strip(),
                # A text that was not touched keeps the ends of its lines, which no form can send.
                content=None if draft.has_content_of(note) else draft.content,
                preconditions=Preconditions(if_match=draft.etag),
            )
        except services.NoteNotFound as exc:
            return self.form(draft, failure=failure_of(request, exc))  # as a new note
        except PreconditionFailed as exc:
            return self.beside_stored(note_id, draft, failure_of(request, exc))
        except Exception as exc:  # noqa: BLE001  # failure_of raises what it has no answer to
            return self.form(draft, note_id=note_id, failure=failure_of(self.request, exc))
        return self.written("page", note_id=note_id)


class DeletePage(Page):
    """Asks whether to delete the caller's note, and does it: the note that was shown, or none."""

    def get(self, request: HttpRequest, note_id: UUID) -> HttpResponse:
        return self._ask(note_id)

    def post(self, request: HttpRequest, note_id: UUID) -> HttpResponse:
        try:
            services.note_delete(
                note_id=note_id,
                caller=self.caller.get_username(),
                preconditions=Preconditions(if_match=request.POST.get("etag", "")),
            )
        except PreconditionFailed as exc:
            return self._ask(note_id, failure_of(request, exc))
        return self.written("home")

    def _ask(self, note_id: UUID, failure: Failure | None = None) -> HttpResponse:
        note, etag = self.own_note(note_id)
        return self.show(
            "notes/delete.html",
            {"note": note, "etag": etag, "failure": failure},
            status=failure.status if failure else HTTPStatus.OK,
        )


class ChooseUser(Page):
    """Keeps the id of the user whom the browser's requests are of (config/web/browser_user.py)."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        if not browser_user.may_choose(request):
            raise PermissionDenied
        user_id = request.POST.get("user_id", "").strip()
        if not is_user_id(user_id):
            raise ValidationError({"User": [f"{USER_ID_RULE}, and no reserved word."]})
        page = request.POST.get("page", "")
        if not url_has_allowed_host_and_scheme(page, allowed_hosts=None):
            page = reverse("home")
        response = HttpResponseRedirect(page)
        browser_user.remember(response, user_id)
        return response


def _parsed_id(text: str) -> UUID:
    """Return the id that a form carries; a new one where it carries none."""
    try:
        return UUID(text)
    except ValueError:
        return uuid4()


def _past_cache(request: HttpRequest) -> str:
    """Return the request's query string with what makes it go past the cache."""
    parameters = [(name, value) for name, value in request.GET.items() if name != "cache"]
    return urlencode([*parameters, ("cache", "false")])
