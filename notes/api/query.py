"""The query string of a list: parsed, bounded, and nothing unknown let through."""

import re
from collections.abc import Iterable

from django.http import QueryDict
from rest_framework.exceptions import ErrorDetail, ValidationError

from notes.limits import USER_ID_PATTERN
from notes.paging import (
    DEFAULT_LIMIT,
    DEFAULT_SORT,
    MAX_LIMIT,
    MAX_PAGE,
    SORT_FIELDS,
    CursorQuery,
    CursorRejected,
    PageQuery,
    Sort,
    position_of,
)

SEARCH_MAX_CHARACTERS = 200
_BY_PAGE = ("userId", "user_id", "q", "page", "limit", "sort", "count", "cache")
_BY_CURSOR = ("userId", "user_id", "cursor", "limit", "sort", "cache")
_SORTS = [f"{field}:{way}" for field in SORT_FIELDS for way in ("ASC", "DESC")]


def parse_list(given: QueryDict) -> PageQuery | CursorQuery:
    """Return what a list's query string asks for. Raises ValidationError that names each mistake."""
    problems = _Problems()
    by_cursor = "cursor" in given
    reject_unknown(given, _BY_CURSOR if by_cursor else _BY_PAGE, problems)
    user_id = _user_id(given, problems)
    limit = _integer(given, "limit", DEFAULT_LIMIT, MAX_LIMIT, problems)
    sort = _sort(given, problems)
    parse_cache(given, problems)
    if by_cursor:
        position = None
        if not problems.found:
            try:
                position = position_of(given.get("cursor", ""), user_id=user_id, sort=sort)
            except CursorRejected as exc:
                problems.add("cursor", str(exc), "invalid")
        problems.raise_if_any()
        return CursorQuery(user_id=user_id, sort=sort, limit=limit, position=position)
    query = PageQuery(
        user_id=user_id,
        search=_search(given, problems),
        sort=sort,
        page=_integer(given, "page", 1, MAX_PAGE, problems),
        limit=limit,
        with_count=_boolean(given, "count", problems),
    )
    problems.raise_if_any()
    return query


def parse_single(given: QueryDict) -> None:
    """Refuse whatever the read of a single note does not know. Raises ValidationError."""
    if not given:
        return
    problems = _Problems()
    reject_unknown(given, ("cache",), problems)
    parse_cache(given, problems)
    problems.raise_if_any()


class _Problems:
    """The mistakes found so far, so that one answer names them all."""

    def __init__(self) -> None:
        self.found: dict[str, list[ErrorDetail]] = {}

    def add(self, field: str, message: str, code: str) -> None:
        self.found.setdefault(field, []).append(ErrorDetail(message, code))

    def raise_if_any(self) -> None:
        if self.found:
            raise ValidationError(self.found)


def reject_unknown(given: QueryDict, known: Iterable[str], problems: _Problems) -> None:
    for name, values in given.lists():
        if name not in known:
            problems.add(name, f"Unknown parameter; known are {', '.join(known)}.", "unknown")
        elif len(values) > 1:
            problems.add(name, "Given more than once.", "repeated")
        elif "\0" in values[0]:
            problems.add(name, "Null characters are not allowed.", "null_characters_not_allowed")


def parse_cache(given: QueryDict, problems: _Problems) -> None:
    _boolean(given, "cache", problems)


def _boolean(given: QueryDict, name: str, problems: _Problems) -> bool:
    value = given.get(name, "true")
    if value not in ("true", "false"):
        problems.add(name, "Must be true or false.", "invalid")
    return value != "false"


def _integer(given: QueryDict, name: str, default: int, most: int, problems: _Problems) -> int:
    text = given.get(name)
    if text is None:
        return default
    if re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= most:
        return int(text)
    problems.add(name, f"Must be a whole number from 1 to {most}.", "out_of_range")
    return default


def _user_id(given: QueryDict, problems: _Problems) -> str | None:
    if "userId" in given and "user_id" in given:
        problems.add("user_id", "Another name of userId; give one of them.", "repeated")
    name = "userId" if "userId" in given else "user_id"
    text = given.get(name)
    if text is not None and not re.fullmatch(USER_ID_PATTERN, text):
        problems.add(name, "Must be 1 to 128 characters of A-Z a-z 0-9 . _ @ : -", "invalid")
    return text


def _search(given: QueryDict, problems: _Problems) -> str | None:
    text = given.get("q")
    if text is not None and not 1 <= len(text.strip()) <= SEARCH_MAX_CHARACTERS:
        problems.add("q", f"Must be 1 to {SEARCH_MAX_CHARACTERS} characters.", "out_of_range")
    return text


def _sort(given: QueryDict, problems: _Problems) -> Sort:
    text = given.get("sort", DEFAULT_SORT)
    if text not in _SORTS:
        problems.add("sort", f"Must be one of {', '.join(_SORTS)}.", "invalid")
        return Sort()
    field, way = text.split(":")
    return Sort(field=field, descending=way == "DESC")
