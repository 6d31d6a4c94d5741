"""Counters of recording and shipping in this process; PROMETHEUS_MULTIPROC_DIR adds them up."""

from typing import Final

from prometheus_client import Counter

RECORDED: Final = Counter("activity_recorded", "Events acknowledged by the spool")
SHIPPED: Final = Counter("activity_shipped", "Events that MongoDB has stored")
REPEATED: Final = Counter("activity_repeated", "Events shipped that MongoDB had already")
REJECTED: Final = Counter("activity_rejected", "Events that MongoDB refused for what they are")
DROPPED: Final = Counter("activity_dropped", "Events dropped because the spool was full")
SET_ASIDE: Final = Counter(
    "activity_set_aside", "Acknowledged events that cannot be read or were refused: files set aside"
)
FAILED: Final = Counter("activity_failed", "Events that could not be recorded at all")
