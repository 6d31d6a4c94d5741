"""
Marks of a reply, set by its view and read outside of it: that it may be given to others, by the edge; and
which resources it is about, by whoever records requests.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpResponse

from cachelayer.first_level import Guard

# Repeats what a hit must do: of its environ, the caller's user id, the request's id. It must not raise.
Repeat = Callable[[Mapping[str, Any], str, str], None]


def about(response: HttpResponse, resource_ids: Sequence[str]) -> None:
    """Mark a reply as being about each of these resources, perhaps none, as if each had its own."""
    response.resource_ids = resource_ids  # type: ignore[attr-defined]  # read by resources_of


def resources_of(response: HttpResponse) -> Sequence[str] | None:
    """Return what the view has marked by about; None where the path or Location names the resource."""
    return getattr(response, "resource_ids", None)


class Scope(enum.Enum):
    """Who may be given a reply that another request was given."""

    EVERYONE = "everyone"  # whoever may call at all
    CALLER = "caller"  # the same user


@dataclass(slots=True)
class Reusable:
    """
    How a reply may be given to others: response.reusable, set by its view with its body.

    Its copy holds under guard, at most for fresh_ms; its freshness ends remaining_seconds from now.
    A hit counts as a read of the logical name of a namespace. body and content_type, with the
    position of that header, are those of the reply before it may become a 304. on_reuse repeats
    what a GET that is answered by a 200 does besides; endpoint names the route.
    """

    guard: Guard
    fresh_ms: int
    remaining_seconds: int
    scope: Scope
    namespace: str
    name: str
    body: bytes
    content_type: str
    content_type_position: int
    endpoint: str = ""
    on_reuse: list[Repeat] = field(default_factory=list)
