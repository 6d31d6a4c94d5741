"""Notes in the Django admin: cheap on a million rows, and each with the state of its cached copy."""

from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.functional import cached_property

from cachelayer import keys, reading
from cachelayer.invalidation import invalidate
from notes import selectors, services
from notes.models import Note

COUNT_BOUND = 10_000


class BoundedPaginator(Paginator):
    """Count no further than COUNT_BOUND rows: nobody turns so many pages, and a full count scans all."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_BOUND].count())


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
        wanted = self.used_parameters.get(self.parameter_name)
        return queryset.filter(user_id=wanted) if wanted else queryset


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    """Inspect and mend notes. Every write goes through notes.services, so the cache follows."""

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
    fields = ("id", "user_id", "title", "content", "created_at", "updated_at", "version")
    add_fields = ("user_id", "title", "content")  # the rest comes to be when it is saved
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

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        states = reading.peek_many([keys.note(note.pk) for note in rows])
        for note, state in zip(rows, states, strict=True):
            note.cached_state = state
        changelist.result_list = rows
        return changelist

    @admin.display(description="cached")
    def cached(self, note: Any) -> str:
        found = note.cached_state
        if found is None:
            return "Redis does not answer"
        return (
            f"yes, {found.remaining_ms // 1000} s left" if found.fresh else f"no ({found.reason})"
        )

    @admin.action(description="Drop the cached copies of the selected notes")
    def drop_cached_copies(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        notes = list(queryset.values_list("id", "user_id"))
        tags = {tag for pk, user in notes for tag in keys.tags_of_note(note_id=pk, user_id=user)}
        invalidate(*tags)
        self.message_user(
            request, f"Cached copies of {len(notes)} notes dropped.", messages.SUCCESS
        )

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        if change:
            services.note_update(note_id=obj.pk, caller=None, title=obj.title, content=obj.content)
        else:
            services.note_create(
                note_id=obj.pk, user_id=obj.user_id, title=obj.title, content=obj.content
            )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        services.note_delete(note_id=obj.pk, caller=None)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for note_id in queryset.values_list("pk", flat=True):
            services.note_delete(note_id=note_id, caller=None)
