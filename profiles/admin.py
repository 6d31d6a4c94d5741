"""The Profiles page of the admin: a searchable list from the store that serves profiles, and one profile."""

import json
import re
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.utils.http import urlencode
from pymongo.errors import PyMongoError

from cachelayer import read
from cachelayer.http import Representation
from config.web.admin_pages import ReadOnlyPage, cached_value_url, mistakes, silence
from config.web.user_ids import USER_ID_PATTERN
from profiles import cache_keys, selectors
from profiles.limits import EMAIL_MAX_BYTES
from profiles.models import ProfileRow

PROFILES_A_PAGE: Final = 50
_USER_ID_MAX_CHARACTERS: Final = 128
_STORES: Final = {"mongo": "MongoDB", "postgres": "PostgreSQL"}
_AWAY: Final = (PyMongoError, DatabaseError, InterfaceError)


class ProfileSearch(forms.Form):
    """The search: q is the text to search for, after the last user_id of the previous page."""

    q = forms.CharField(max_length=EMAIL_MAX_BYTES, required=False)
    after = forms.CharField(max_length=_USER_ID_MAX_CHARACTERS, required=False)
    user_id = forms.CharField(max_length=_USER_ID_MAX_CHARACTERS, required=False)

    def clean_q(self) -> str:
        """Refuse what can be no part of a user_id, and no address."""
        text: str = self.cleaned_data["q"]
        if text and "@" not in text and not re.fullmatch(USER_ID_PATTERN, text):
            raise forms.ValidationError(
                "Must be the beginning of a user id (A-Z a-z 0-9 . _ @ : -) or an e-mail address."
            )
        return text


@admin.register(ProfileRow)
class ProfileAdmin(ReadOnlyPage):
    """Profiles of the store that serves them; the table of this model is that store or its mirror."""

    template = "admin/profiles/profiles.html"

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        """Return the profile that ?user_id= names, else one page of the list."""
        form = ProfileSearch(request.GET)
        context = {"title": "Profiles", "q": request.GET.get("q", ""), **_stores()}
        if not form.is_valid():
            return {**context, "errors": mistakes(form)}
        user_id = form.cleaned_data["user_id"]
        if user_id:
            return {
                **context,
                "title": f"Profile {user_id}",
                "user_id": user_id,
                **_compared(user_id),
                "cached_value_url": cached_value_url(request, cache_keys.profile(user_id).name),
            }
        return {**context, **_listed(form.cleaned_data["q"], form.cleaned_data["after"])}


def _stores() -> dict[str, str]:
    serving = _STORES[settings.PROFILE_BACKEND]
    [other] = set(_STORES.values()) - {serving}
    return {"store": serving, "mirror": other}


def _listed(text: str, after: str) -> dict[str, Any]:
    try:
        page = selectors.profiles_find(text=text, after=after, limit=PROFILES_A_PAGE)
    except _AWAY as exc:
        return {"errors": [("profiles", silence(exc))]}
    search = {"q": text} if text else {}
    return {
        "lines": page.lines,
        "first": urlencode(search) if after else None,
        "next": urlencode({**search, "after": page.next_after}) if page.next_after else None,
    }


def _compared(user_id: str) -> dict[str, Any]:
    """Return the profile in the primary, in the mirror and in the cache, and which of them agree."""
    stored, store_error = _read(selectors.profile_get_stored, user_id)
    copied, mirror_error = _read(selectors.profile_get_copied, user_id)
    [lookup] = read.peek_many([cache_keys.profile(user_id)])
    is_cached = lookup is not None and lookup.fresh
    cached = lookup.value if lookup is not None and lookup.fresh else None
    nothing_to_compare = store_error or mirror_error or not (stored or copied)
    return {
        "stored": _pretty(stored),
        "etag": stored.etag if stored else "",
        "store_error": store_error,
        "copied": _pretty(copied),
        "mirror_error": mirror_error,
        "copy_agrees": None if nothing_to_compare else _same(stored, copied),
        "lookup": lookup,
        "seconds_left": lookup.remaining_ms // 1000 if lookup else 0,
        "cached": _pretty(cached),
        "cache_agrees": _same(stored, cached) if is_cached and not store_error else None,
    }


def _read(read: Any, user_id: str) -> tuple[Representation | None, str]:
    """Return the profile of one store and "", or None and the error message."""
    try:
        return read(user_id=user_id), ""
    except _AWAY as exc:
        return None, silence(exc)


def _same(first: Representation | None, second: Representation | None) -> bool:
    """Return whether both are the same JSON; jsonb keeps keys in an order of its own."""
    return bool(_plain(first) == _plain(second))


def _plain(profile: Representation | None) -> Any:
    return None if profile is None else json.loads(profile.body)


def _pretty(profile: Representation | None) -> str:
    """Return the JSON with one member a line; empty for None."""
    return "" if profile is None else json.dumps(_plain(profile), indent=2, ensure_ascii=False)
