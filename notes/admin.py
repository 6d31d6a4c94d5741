"""Notes in the Django admin: cheap on a million rows, each with the state of its cached copy."""

import contextlib
import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html

from cachelayer import read
from cachelayer.invalidation import invalidate
from config.web.admin_pages import StrictListAdmin, cached_value_url
from config.web.user_ids import RESERVED_USER_IDS, USER_ID_PATTERN, USER_ID_RULE
from notes import cache_keys, selectors, services
from notes.limits import CONTENT_MAX_CHARACTERS, TITLE_MAX_CHARACTERS
from notes.models import Note

COUNT_BOUND = 10_000


class NewlinesAsStored(forms.CharField):
    """
    Text that survives a browser unchanged, except for what somebody has edited.

    A browser sends each line end as CR LF, and drops line ends from a single-line field
    (HTML, 4.10.5.1.2 and 4.10.11): neither is an edit. Edited text is stored with LF.
    """

    def to_python(self, value: Any) -> str:
        return _with_lf(super().to_python(value) or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        shown, sent = _with_lf(initial or ""), _with_lf(data or "")
        if not isinstance(self.widget, forms.Textarea):
            shown, sent = shown.replace("\n", ""), sent.replace("\n", "")
        return shown != sent


class NoteForm(forms.ModelForm):
    """A note in the form: a field that was not edited keeps the stored text, byte for byte."""

    title = NewlinesAsStored(
        max_length=TITLE_MAX_CHARACTERS, strip=False, widget=AdminTextInputWidget
    )
    content = NewlinesAsStored(
        max_length=CONTENT_MAX_CHARACTERS, strip=False, required=False, widget=AdminTextareaWidget
    )
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and not self.instance._state.adding:
            self.initial["seen_version"] = self.instance.version

    def clean_user_id(self) -> str:
        user_id = str(self.cleaned_data["user_id"])
        if user_id in RESERVED_USER_IDS:
            raise forms.ValidationError("This user id is reserved.", code="reserved")
        return user_id

    def clean_title(self) -> str:
        if "title" not in self.changed_data:
            return str(self.instance.title)
        title = str(self.cleaned_data["title"]).strip()
        if not title:
            raise forms.ValidationError("This field is required.", code="required")
        return title

    def clean_content(self) -> str:
        if "content" not in self.changed_data:
            return str(self.instance.content)
        return str(self.cleaned_data["content"])

    def clean(self) -> dict[str, Any]:
        """Refuse an edit of a note that has changed since the form was shown."""
        shown = self.cleaned_data.get("seen_version")
        if shown is not None and shown != self.instance.version:
            raise forms.ValidationError(
                f"Not saved: somebody changed this note while you did (version {shown} was shown, "
                f"the current one is {self.instance.version}). Your text is still below: copy it, reopen "
                "the note, and repeat the change."
            )
        return self.cleaned_data


def _with_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


class BoundedPaginator(Paginator):
    """Count no further than COUNT_BOUND rows: nobody turns that many pages, and a full count scans the table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_BOUND].count())

    @property
    def is_cut_off(self) -> bool:
        """Whether there may be more rows than count."""
        return self.count >= COUNT_BOUND


class OwnerFilter(admin.ListFilter):
    """One user's notes, by ?user_id=: a list of all users would be as long as the table."""

    title = "owner"
    parameter_name = "user_id"
    template = "admin/notes/owner_filter.html"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        if self.parameter_name in params:
            value = params.pop(self.parameter_name)
            self.used_parameters[self.parameter_name] = value[-1]

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name]

    def choices(self, changelist: Any) -> Any:
        others = changelist.get_query_string(remove=[self.parameter_name])
        yield {"value": self.used_parameters.get(self.parameter_name, ""), "others": others}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        user_id = str(self.used_parameters.get(self.parameter_name, ""))
        if user_id and not re.fullmatch(USER_ID_PATTERN, user_id):
            messages.error(request, f"Owner: must be {USER_ID_RULE}")
            return queryset.none()
        return queryset.filter(user_id=user_id) if user_id else queryset


@admin.register(Note)
class NoteAdmin(StrictListAdmin):
    """View and edit notes. Every write goes through notes.services, which invalidates the cache."""

    form = NoteForm
    list_display = ("title", "user_id", "cached", "created_at", "version")
    list_filter = (OwnerFilter,)
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count a whole table
    paginator = BoundedPaginator
    ordering = ("-created_at",)
    sortable_by = ("created_at",)  # the other columns have no index of their own
    search_fields = ("title",)
    search_help_text = "Words of the title, the id of a note, or user:NAME."
    readonly_fields = ("id", "user_id", "created_at", "updated_at", "version")
    fields = (
        *("id", "user_id", "title", "content", "created_at", "updated_at", "version"),
        "seen_version",
    )
    add_fields = ("user_id", "title", "content")  # the other fields are set when it is saved
    actions = ("drop_cached_copies",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return selectors.note_search(rows=queryset, text=search_term), False

    def get_fields(self, request: HttpRequest, obj: Note | None = None) -> tuple[str, ...]:
        return self.fields if obj else self.add_fields

    def get_readonly_fields(self, request: HttpRequest, obj: Note | None = None) -> tuple[str, ...]:
        """Return the fields shown as text: a note keeps its owner."""
        return self.readonly_fields if obj else ()

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the note, locked where it is about to be written, so that it cannot change before."""
        note = super().get_object(request, object_id, from_field)
        if note is not None and request.method == "POST" and connection.in_atomic_block:
            return Note.objects.select_for_update().filter(pk=note.pk).first()
        return note

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        states = read.peek_many([cache_keys.note(note.pk) for note in rows])
        for note, state in zip(rows, states, strict=True):
            note.cached_state = state
            note.cached_value_url = cached_value_url(request, cache_keys.note(note.pk).name)
        changelist.result_list = rows
        return changelist

    @admin.display(description="cached")
    def cached(self, note: Any) -> str:
        lookup = note.cached_state
        if lookup is None:
            return "Redis does not answer"
        state = (
            f"yes, {lookup.remaining_ms // 1000} s left"
            if lookup.fresh
            else f"no ({lookup.reason})"
        )
        url = note.cached_value_url
        return format_html('<a href="{}">{}</a>', url, state) if url else state

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the form; of a note that exists, with a link to its cached value beside its row."""
        note = kwargs.get("obj")
        if note is not None:
            context["cached_value_url"] = cached_value_url(request, cache_keys.note(note.pk).name)
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the chosen action; refuse to run it on all rows where these were not all counted."""
        on_all = forms.BooleanField(required=False).clean(request.POST.get("select_across"))
        if on_all and BoundedPaginator(queryset, self.list_per_page).is_cut_off:
            self.message_user(
                request,
                f"Nothing was done: there are {COUNT_BOUND} notes or more. Select some, or filter the list.",
                messages.ERROR,
            )
            return None
        return super().response_action(request, queryset, *args, **kwargs)

    @admin.action(
        description="Drop the cached copies of the selected notes", permissions=["change"]
    )
    def drop_cached_copies(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        notes = list(queryset.values_list("id", "user_id"))
        tags = {
            tag for pk, user in notes for tag in cache_keys.tags_of_note(note_id=pk, user_id=user)
        }
        invalidate(*tags)
        self.message_user(
            request, f"Cached copies of {len(notes)} notes dropped.", messages.SUCCESS
        )

    def save_model(
        self, request: HttpRequest, obj: Any, form: forms.ModelForm, change: bool
    ) -> None:
        if change:
            edited = {
                name: form.cleaned_data[name]
                for name in ("title", "content")
                if name in form.changed_data
            }
            if edited:
                services.note_update(note_id=obj.pk, caller=None, **edited)
        else:
            services.note_create(
                note_id=obj.pk, user_id=obj.user_id, title=obj.title, content=obj.content
            )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        services.note_delete(note_id=obj.pk, caller=None)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for note_id in queryset.values_list("pk", flat=True):
            with contextlib.suppress(services.NoteNotFound):  # somebody else has deleted it
                services.note_delete(note_id=note_id, caller=None)
