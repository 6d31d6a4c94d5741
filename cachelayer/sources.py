"""Where cached values can be loaded again, without the request that asked for them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cachelayer.namespace import Key, Namespace

V = TypeVar("V")
# Gets keys, each with the origin that its entry carries ("" where it has none or is not cached);
# returns their values in the same order, None for what there is not.
Source = Callable[[Sequence[tuple[Key[Any], str]]], Sequence[Any]]

_sources: dict[str, Source] = {}


def register(namespace: Namespace[V], source: Source) -> None:
    """Tell, once at start, how values of the namespace are loaded: for warming and auditing."""
    _sources[namespace.name] = source


def source_of(namespace: Namespace[Any]) -> Source | None:
    """Return how the namespace's values are loaded, None where nobody has told."""
    return _sources.get(namespace.name)
