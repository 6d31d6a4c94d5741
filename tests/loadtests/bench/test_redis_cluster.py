"""The counts of docs/adr/0033-redis-cluster.md, on a real cluster."""

import re

from config.stack import ROOT
from loadtests.bench import redis_cluster


class TestMeasure:
    def test_a_look_is_one_round_trip_to_one_node_only_with_copied_stamps(self):
        with redis_cluster.clients() as (single, cluster):
            measurements = redis_cluster.measure(single, cluster, entries=10, rounds=1)

        by_case = {case[:2]: m for case, m in zip(redis_cluster.CASES, measurements, strict=True)}
        looks = {how: m for (what, how), m in by_case.items() if what == "look"}
        refused = {how for how, measurement in looks.items() if measurement is None}
        assert refused == {
            "cluster, keys as they are, MGET",
            "cluster, hash tag of the entry, MGET",
        }
        one_message = {how for how, m in looks.items() if m and m.messages == 1}
        assert one_message == {
            "one node, MGET",
            "cluster, shared stamps copied by bucket, MGET",
        }
        assert all(m.round_trips == 1 for m in by_case.values() if m)
        assert all(m.messages == m.nodes for m in by_case.values() if m)

    def test_the_decision_names_the_number_of_buckets_that_is_measured(self):
        page = (ROOT / "docs" / "adr" / "0033-redis-cluster.md").read_text()

        assert set(re.findall(r"(\d+) buckets", page)) == {str(redis_cluster.BUCKETS)}
