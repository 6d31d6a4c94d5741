"""Whether what Redis serves may be believed."""

from typing import Final

from cachelayer.client import breaker

LEASE_SECONDS: Final = 1.5

# Rises with each lease that begins after one that lapsed; copies of an older one are dead.
generation = 0


def holds() -> bool:
    """Return whether what Redis serves may be believed now."""
    return not breaker.is_open
