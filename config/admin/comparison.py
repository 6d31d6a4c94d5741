"""A key's cached value beside that of its store, and what differs."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser, User
from django.db import DatabaseError, InterfaceError
from pymongo.errors import PyMongoError

from cachelayer import explain, protocol
from cachelayer.client import CacheDown
from cachelayer.namespace import NoSuchKey, key_named, loader_of
from config.web.admin_pages import silence

# Who may see the values of a namespace: whoever may view the rows that they are made of.
PERMISSIONS: Final = {
    "notes": "notes.view_note",
    "notes:list": "notes.view_note",
    "user:profile": "profiles.view_profilerow",
}
DIFFERENCES_MAX: Final = 20
SHOWN_CHARACTERS: Final = 2_000  # of a value
_MEMBER_CHARACTERS: Final = 200  # of a member that differs
_MISSING: Final = object()


def compare(name: str, user: User | AnonymousUser) -> dict[str, Any]:
    """
    Return what explain says of a key, its cached value, its value in the store, and what differs.

    {error} where there is no such key, or Redis does not answer; store_error where its store does not.
    Without the values for users who lack a permission: withheld is its name.
    """
    try:
        key = key_named(name)
        explanation = explain.explain(name)
        lookup = protocol.look_many([key])[0]
    except NoSuchKey as exc:
        return {"error": str(exc)}
    except CacheDown:
        return {"error": "Redis does not answer."}
    permission = PERMISSIONS[key.namespace.name]
    if not user.has_perm(permission):
        return {"explanation": explanation, "withheld": permission}
    loader = loader_of(key.namespace)
    can_load = loader is not None and bool(lookup.origin or key.namespace.warms)
    stored, store_error = None, ""
    try:
        stored = loader([(key, lookup.origin)])[0] if loader and can_load else None
    except (DatabaseError, InterfaceError, PyMongoError) as exc:
        store_error = silence(exc)
    is_comparable = lookup.fresh and can_load and not store_error
    return {
        "explanation": explanation,
        "cached": _text(lookup.value) if lookup.fresh else None,
        "stored": _text(stored) if can_load else "cannot be loaded from its name alone",
        "store_error": store_error,
        "agree": lookup.value == stored if is_comparable else None,
        "differences": differences(lookup.value, stored) if is_comparable else [],
    }


def differences(cached: Any, stored: Any) -> list[tuple[str, str, str]]:
    """
    Return (path, cached, stored) of each member that differs, the first DIFFERENCES_MAX.

    A path is that of the JSON, such as results[0].title; ETag and the links' queries count as members.
    """
    differing = _differing(_tree(cached), _tree(stored), "")
    return [
        (path, _shortened(ours), _shortened(theirs))
        for path, ours, theirs in itertools.islice(differing, DIFFERENCES_MAX)
    ]


def _differing(cached: Any, stored: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if cached == stored:
        return
    if isinstance(cached, dict) and isinstance(stored, dict):
        for name in cached | stored:
            member = f"{path}.{name}" if path else name
            yield from _differing(cached.get(name, _MISSING), stored.get(name, _MISSING), member)
    elif isinstance(cached, list) and isinstance(stored, list):
        pairs = itertools.zip_longest(cached, stored, fillvalue=_MISSING)
        for place, (ours, theirs) in enumerate(pairs):
            yield from _differing(ours, theirs, f"{path}[{place}]")
    else:
        yield path or "value", cached, stored


def _tree(value: Any) -> Any:
    """Return the JSON of a cachelayer.http.Representation with its ETag and queries; other values as they are."""
    if value is None:
        return _MISSING
    body = getattr(value, "body", None)
    if body is None:
        return value
    outside = {"ETag": value.etag, "next": value.next_query, "previous": value.previous_query}
    for ending in (b"", b"}"):  # a page of a list is stored without its end
        try:
            parsed = json.loads(body + ending)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            return parsed | outside
    return outside | {"body": body.decode(errors="replace")}


def _text(value: Any) -> str:
    if value is None:
        return "does not exist"
    body = getattr(value, "body", None)
    return (body.decode() if body is not None else repr(value))[:SHOWN_CHARACTERS]


def _shortened(member: Any) -> str:
    if member is _MISSING:
        return "does not exist"
    text = json.dumps(member, ensure_ascii=False, default=repr)
    return text if len(text) <= _MEMBER_CHARACTERS else f"{text[:_MEMBER_CHARACTERS]} ..."
