"""Histograms that are observed without a lock."""

import pytest
from prometheus_client import Histogram
from prometheus_client.registry import CollectorRegistry

from cachelayer import counts
from config import deferred_metrics

BOUNDS = (0.00005, 0.0001, 0.001, 0.1, 5.0)
SECONDS = [0.0, 0.00005, 0.00006, 0.001, 0.0011, 0.7, 5.0, 5.1, 100.0]


def histogram() -> Histogram:
    return Histogram("seconds", "s", buckets=BOUNDS, registry=CollectorRegistry())


def samples(of: Histogram) -> list[object]:
    return [
        (sample.name, sample.labels, pytest.approx(sample.value))
        for family in of.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


class TestObserveAll:
    def test_is_what_one_observation_after_the_other_would_be(self):
        one_by_one, at_once = histogram(), histogram()
        for each in SECONDS:
            one_by_one.observe(each)

        deferred_metrics.observe_all(at_once, SECONDS)

        assert samples(at_once) == samples(one_by_one)


class TestQueue:
    def test_is_observed_with_the_counts_and_once(self, monkeypatch):
        monkeypatch.setattr(deferred_metrics, "_queues", [])
        queued, expected = histogram(), histogram()
        queue = deferred_metrics.queue_of(lambda: queued)
        queue.extend(SECONDS)

        for _ in range(2):
            counts.flush()

        deferred_metrics.observe_all(expected, SECONDS)
        assert samples(queued) == samples(expected)

    def test_makes_no_histogram_before_there_is_a_value(self, monkeypatch):
        monkeypatch.setattr(deferred_metrics, "_queues", [])
        made = []
        queue = deferred_metrics.queue_of(lambda: made.append(histogram()) or made[-1])

        counts.flush()
        assert made == []
        queue.append(0.7)
        counts.flush()
        assert len(made) == 1
