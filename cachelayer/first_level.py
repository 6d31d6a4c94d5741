"""What a process keeps of what it has answered, for as long as nothing of it was invalidated."""

from collections.abc import Hashable
from typing import Any

from cachelayer.namespace import Key


class Guard:
    """What must not have changed since before the look in Redis began."""

    def holds(self) -> bool:
        """Return whether a copy under this guard may be served now."""
        return False


def guard_of(key: Key[Any]) -> Guard | None:
    """
    Return the guard of what is about to be looked up under key, to be drawn before the look.

    None: nothing may be kept, because the level is off, or within a transaction.
    """
    return None


class Copies:
    """Copies of one process, bounded in bytes."""

    def get(self, key: Hashable) -> Any | None:
        """Return the payload kept under key, where it may be served now."""
        return None

    def put(
        self, key: Hashable, payload: Any, size_bytes: int, guard: Guard, fresh_seconds: float
    ) -> None:
        """Keep a payload, which is not None, for at most so long."""

    def clear(self) -> None:
        """Drop all copies."""

    def figures(self) -> dict[str, Any]:
        """Return what there is, for people."""
        return {}


copies = Copies()
