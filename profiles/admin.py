"""The Profiles page of the admin: profiles found in the store that serves them, and one of them."""

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
from config.web.admin_pages import ReadOnlyPage, mistakes, silence
from config.web.user_ids import USER_ID_PATTERN
from profiles import cache_keys, selectors
from profiles.limits import EMAIL_MAX_BYTES
from profiles.models import ProfileRow

PROFILES_A_PAGE: Final = 50
_USER_ID_MAX_CHARACTERS: Final = 128
_STORES: Final = {"mongo": "MongoDB", "postgres": "PostgreSQL"}
_AWAY: Final = (PyMongoError, DatabaseError, InterfaceError)


class ProfileSearch(forms.Form):
    """Which profiles: q is what the store finds by, after the last user_id of the page before."""

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
    """Profiles of the store that serves: the table of this model is its copy, or it is that one."""

    template = "admin/profiles/profiles.html"

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        """Return one profile where ?user_id= names it, else one page of those found."""
        form = ProfileSearch(request.GET)
        told = {"title": "Profiles", "q": request.GET.get("q", ""), **_stores()}
        if not form.is_valid():
            return {**told, "errors": mistakes(form)}
        user_id = form.cleaned_data["user_id"]
        if user_id:
            return {**told, "title": f"Profile {user_id}", "user_id": user_id, **_one(user_id)}
        return {**told, **_found(form.cleaned_data["q"], form.cleaned_data["after"])}


def _stores() -> dict[str, str]:
    serving = _STORES[settings.PROFILE_BACKEND]
    [other] = set(_STORES.values()) - {serving}
    return {"store": serving, "mirror": other}


def _found(text: str, after: str) -> dict[str, Any]:
    try:
        found = selectors.profiles_find(text=text, after=after, limit=PROFILES_A_PAGE)
    except _AWAY as exc:
        return {"errors": [("profiles", silence(exc))]}
    search = {"q": text} if text else {}
    return {
        "lines": found.lines,
        "first": urlencode(search) if after else None,
        "next": urlencode({**search, "after": found.next_after}) if found.next_after else None,
    }


def _one(user_id: str) -> dict[str, Any]:
    """Return what the store, the other store and the cache have of a profile, and who agrees."""
    stored, store_error = _read(selectors.profile_get_stored, user_id)
    copied, mirror_error = _read(selectors.profile_get_copied, user_id)
    [found] = read.peek_many([cache_keys.profile(user_id)])
    is_cached = found is not None and found.fresh
    cached = found.value if found is not None and found.fresh else None
    nothing_to_compare = store_error or mirror_error or not (stored or copied)
    return {
        "stored": _pretty(stored),
        "etag": stored.etag if stored else "",
        "store_error": store_error,
        "copied": _pretty(copied),
        "mirror_error": mirror_error,
        "copy_agrees": None if nothing_to_compare else _same(stored, copied),
        "found": found,
        "seconds_left": found.remaining_ms // 1000 if found else 0,
        "cached": _pretty(cached),
        "cache_agrees": _same(stored, cached) if is_cached and not store_error else None,
    }


def _read(read: Any, user_id: str) -> tuple[Representation | None, str]:
    """Return what one of the stores has, and "", or why it does not say."""
    try:
        return read(user_id=user_id), ""
    except _AWAY as exc:
        return None, silence(exc)


def _same(one: Representation | None, other: Representation | None) -> bool:
    """Return whether both are the same JSON; jsonb keeps keys in an order of its own."""
    return bool(_plain(one) == _plain(other))


def _plain(profile: Representation | None) -> Any:
    return None if profile is None else json.loads(profile.body)


def _pretty(profile: Representation | None) -> str:
    """Return the JSON as it is sent, but with a line for each member; empty for None."""
    return "" if profile is None else json.dumps(_plain(profile), indent=2, ensure_ascii=False)
