"""The query string of a list: parsed, bounded, unknown parameters refused."""

import re

from django.http import QueryDict

from config.web.authentication import NotReadable
from config.web.paging import CursorRejected
from config.web.query import Parameters
from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE
from notes.paging import (
    DEFAULT_LIMIT,
    DEFAULT_SORT,
    MAX_LIMIT,
    MAX_PAGE,
    SORT_FIELDS,
    CursorQuery,
    PageQuery,
    Sort,
    position_of,
)

SEARCH_MAX_CHARACTERS = 200
_BY_PAGE = ("userId", "user_id", "q", "page", "limit", "sort", "count", "cache")
_BY_CURSOR = ("userId", "user_id", "cursor", "limit", "sort", "cache")
SORTS = [f"{field}:{direction}" for field in SORT_FIELDS for direction in ("ASC", "DESC")]


def parse_list(query_string: QueryDict, *, only_user: str | None = None) -> PageQuery | CursorQuery:
    """
    Return the requested page of a list; of the notes of only_user where the caller may read no others.

    Raises ValidationError that names each mistake, NotReadable where another user's list is requested.
    """
    by_cursor = "cursor" in query_string
    parameters = Parameters(query_string, known=_BY_CURSOR if by_cursor else _BY_PAGE)
    user_id = _user_id(parameters)
    if only_user is not None and parameters.are_good:
        if user_id not in (None, only_user):
            raise NotReadable("The notes of another user are not yours to read.")
        user_id = only_user
    limit = parameters.integer("limit", default=DEFAULT_LIMIT, most=MAX_LIMIT)
    sort = _sort(parameters)
    parameters.boolean("cache")
    if by_cursor:
        position = None
        if parameters.are_good:
            try:
                position = position_of(query_string.get("cursor", ""), user_id=user_id, sort=sort)
            except CursorRejected as exc:
                parameters.refuse("cursor", str(exc))
        parameters.end()
        return CursorQuery(user_id=user_id, sort=sort, limit=limit, position=position)
    query = PageQuery(
        user_id=user_id,
        search=_search(parameters),
        sort=sort,
        page=parameters.integer("page", default=1, most=MAX_PAGE),
        limit=limit,
        with_count=parameters.boolean("count"),
    )
    parameters.end()
    return query


def _user_id(parameters: Parameters) -> str | None:
    plain, alias = parameters.text("userId"), parameters.text("user_id")
    if plain is not None and alias is not None:
        parameters.refuse("user_id", "Another name of userId; give one of them.", "repeated")
    name, text = ("user_id", alias) if plain is None else ("userId", plain)
    if text is not None and not re.fullmatch(USER_ID_PATTERN, text):
        parameters.refuse(name, f"Must be {USER_ID_RULE}")
    return text


def _search(parameters: Parameters) -> str | None:
    text = parameters.text("q")
    if text is None:
        return None
    text = text.strip()  # else padding would make of one search as many as one likes, each kept
    if not 1 <= len(text) <= SEARCH_MAX_CHARACTERS:
        parameters.refuse("q", f"Must be 1 to {SEARCH_MAX_CHARACTERS} characters.", "out_of_range")
    return text


def _sort(parameters: Parameters) -> Sort:
    text = parameters.text("sort")
    if text is None:
        text = DEFAULT_SORT
    if text not in SORTS:
        parameters.refuse("sort", f"Must be one of {', '.join(SORTS)}.")
        return Sort()
    field, direction = text.split(":")
    return Sort(field=field, descending=direction == "DESC")
