"""A page of the admin that only shows, for what lies in no table that the admin could list."""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from cachelayer.failures import unavailable_store

_SPELLED: Final = {"postgres": "PostgreSQL", "mongodb": "MongoDB"}


class ReadOnlyPage(admin.ModelAdmin):
    """
    One page in the place of a model's list, for those who may view the model.

    A subclass names its template, and says by contents what the template shows.
    """

    template: str

    def get_urls(self) -> list[URLPattern]:
        """Return the page alone: there is nothing to add, change or delete."""
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


def mistakes(form: forms.Form) -> list[tuple[str, str]]:
    """Return each field that is wrong, and what is wrong with it."""
    return [(name, " ".join(map(str, texts))) for name, texts in form.errors.items()]


def silence(exc: BaseException) -> str:
    """Return the sentence that says which store does not answer. Raises exc where it says otherwise."""
    store = unavailable_store(exc)
    if store is None:
        raise exc
    return f"{_SPELLED[store]} does not answer. Try again in a moment."
