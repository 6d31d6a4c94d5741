"""The file of slots that all processes of a host share: what has been invalidated since a copy was made."""

from collections.abc import Sequence


def mapped() -> bool:
    """Return whether this process has the file."""
    return False


def overwrite(tags: Sequence[str]) -> None:
    """Make every copy that depends on any of the tags unservable, in all processes of this host."""
