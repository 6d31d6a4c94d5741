"""What has been counted, added up over all processes, the dead ones included."""

import contextlib
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from cachelayer import counts

Samples = dict[str, list[Any]]

_QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def registry() -> CollectorRegistry | Collector:
    """Return what has the counts of all processes; of this one alone where they share no folder."""
    counts.flush()
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # prometheus_client's own switch
    if not folder:
        return REGISTRY
    _forget_the_state_of_the_dead(Path(folder))
    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # it has no types
    return merged


def _forget_the_state_of_the_dead(folder: Path) -> None:
    """Drop what dead workers said of their present state; their counts stay."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)  # sends nothing
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another reader was faster
                mark_process_dead(pid)  # type: ignore[no-untyped-call]  # it has no types
        except PermissionError:
            continue  # alive, as another user


def samples() -> Samples:
    """Return all samples, by their names."""
    by_name: Samples = defaultdict(list)
    for family in registry().collect():
        for sample in family.samples:
            by_name[sample.name].append(sample)
    return by_name


def total(samples: Samples, metric: str) -> float:
    """Return the sum over all labels."""
    return float(sum(sample.value for sample in samples.get(metric, [])))


def timings(samples: Samples, metric: str, label: str) -> dict[str, dict[str, float]]:
    """Return {label's value: {count, p50, p95, p99}} of a histogram, in milliseconds."""
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for sample in samples.get(f"{metric}_bucket", []):
        buckets[sample.labels[label]][float(sample.labels["le"])] += sample.value
    return {
        name: {"count": int(max(counts.values()))}
        | {word: quantile(counts, share) for word, share in _QUANTILES.items()}
        for name, counts in buckets.items()
        if max(counts.values())
    }


def quantile(counts: dict[float, float], share: float) -> float:
    """
    Return a quantile in milliseconds, by interpolation within its bucket.

    counts maps a bucket's upper bound in seconds to how many lie at or below it.
    """
    rank = share * max(counts.values())
    below, before = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= rank:
            if bound == float("inf"):
                break  # all that can be said is that it is longer than the last bound
            inside = (rank - before) / (count - before) if count > before else 0.0
            return round((below + inside * (bound - below)) * 1000, 3)
        below, before = bound, count
    return round(below * 1000, 3)
