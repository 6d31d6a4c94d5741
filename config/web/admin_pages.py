"""Base classes for the admin: a read-only page, and lists that report malformed requests."""

from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from cachelayer.failures import unavailable_store
from config.postgres import replica

_DISPLAY_NAMES: Final = {"postgres": "PostgreSQL", "mongodb": "MongoDB"}


class ReadOnlyPage(admin.ModelAdmin):
    """
    A page in place of a model's list, for users who may view the model.

    A subclass sets template, and returns its context from contents.
    """

    template: str

    def get_urls(self) -> list[URLPattern]:
        """Return the page's route alone: there is nothing to add, change or delete."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        """Return the template's context."""
        raise NotImplementedError

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            **self.contents(request),
        }
        return TemplateResponse(request, self.template, context)


class StrictChangeList(ChangeList):
    """A list that reports filters which the database cannot compare as a message."""

    def get_results(self, request: HttpRequest) -> None:
        """Query the rows. Raises IncorrectLookupParameters, after which the list is shown unfiltered."""
        try:
            if request.method == "GET":
                replica.run(partial(self._query_rows, request))
            else:  # an action, whose rows are about to change
                super().get_results(request)
        except (ValueError, OverflowError, DataError) as exc:  # a NUL, a year past 9999
            reason = str(exc).splitlines()[0]
            messages.error(request, f"The list was not filtered: {reason}")
            raise IncorrectLookupParameters(reason) from exc

    def _query_rows(self, request: HttpRequest, using: str) -> None:
        self.root_queryset = self.root_queryset.using(using)
        self.queryset = self.queryset.using(using)
        super().get_results(request)
        self.result_list = list(self.result_list)  # here, where the primary can still take over


class StrictListAdmin(admin.ModelAdmin):
    """A model's list that reports a malformed filter or selection as a message, and changes nothing."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StrictChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page, or run the chosen action on the selected rows."""
        key = self.opts.pk
        try:
            for value in request.POST.getlist(ACTION_CHECKBOX_NAME):
                key.to_python(value)
        except ValidationError as exc:
            messages.error(request, f"Nothing was done: {' '.join(exc.messages)}")
            return HttpResponseRedirect(request.get_full_path())
        return super().changelist_view(request, extra_context)


def cached_value_url(request: HttpRequest, key_name: str) -> str | None:
    """Return where the Cache page compares a key's cached value with its store; None for those who may not view it."""
    if not request.user.has_perm("cachelayer.view_clearance"):
        return None
    query = {"key": key_name}
    return reverse("admin:cachelayer_clearance_changelist", query=query, fragment="key")


def mistakes(form: forms.Form) -> list[tuple[str, str]]:
    """Return (field, message) of each invalid field."""
    return [(name, " ".join(map(str, texts))) for name, texts in form.errors.items()]


def silence(exc: BaseException) -> str:
    """Return a message that names the store that does not answer. Raises exc where it has another cause."""
    store = unavailable_store(exc)
    if store is None:
        raise exc
    return f"{_DISPLAY_NAMES[store]} does not answer. Try again in a moment."
