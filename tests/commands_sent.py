"""How many commands this process sent to MongoDB."""

from collections.abc import Callable

from config.mongodb import COMMAND_SECONDS


def sent_by(call: Callable[[], object]) -> int:
    """Return how many commands a call sends; getMore, of which there is one a batch, is not counted."""
    before = _total()
    call()
    return int(_total() - before)


def _total() -> float:
    return sum(
        sample.value
        for metric in COMMAND_SECONDS.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    )
