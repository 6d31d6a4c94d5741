"""The arithmetic of docs/scale.md: by hand for one load, and every bound has its answer."""

import json

import pytest

from config.stack import ROOT
from loadtests.docs import scale

PAGE = "\n".join(
    f"| {request} | Trilith | 100 |  | 1 | 2 | {costs} | 0 |"
    for request, costs in (
        ("cached read", "30.0 | 0.3 | 0.1 | 2.0 | 5.0"),
        ("uncached read", "950.0 | 200.0 | 3.0 | 30.0 | 50.0"),
        ("note replaced", "2000.0 | 800.0 | 60.0 | 50.0 | 40.0"),
    )
)
SIZES = {
    "redis_hit_application_us_1_processes": 600.0,
    "redis_hit_redis_us_1_processes": 20.0,
    "note_row_bytes_large": 300.0,
    "note_index_bytes_large": 200.0,
    "redis_entry_bytes_large": 1_000.0,
    "event_disk_bytes_large": 100.0,
    "event_index_bytes_large": 100.0,
    "wal_bytes_per_note_replaced": 1_500.0,
    "redis_replication_bytes_per_miss": 1_600.0,
    "redis_replication_bytes_per_write": 200.0,
    "oplog_bytes_per_event": 500.0,
}


class TestLoadOf:
    def test_is_the_arithmetic_by_hand(self):
        load = scale.load_of(1_000, 10**6, PAGE, SIZES)

        # 950 hits, 50 misses, 10 writes, 1 010 events a second; processors are busy for 0.6.
        assert load.first_level_processors == pytest.approx(
            (950 * 35 + 50 * 1_000 + 10 * 2_040) / 0.6e6
        )
        assert load.redis_hit_processors == pytest.approx(
            (950 * 600 + 50 * 1_000 + 10 * 2_040) / 0.6e6
        )
        assert {bound: need.amount for bound, need in load.needs.items()} == pytest.approx(
            {
                "PostgreSQL processors": (50 * 200 + 10 * 800) / 0.6e6,
                "PostgreSQL size": 10**6 * 500,
                "WAL": 10 * 1_500,
                "Redis thread": (950 * 20 + 50 * 3 * 20 + 10 * 60) / 0.6e6,
                "Redis memory": 50 * 3_900 * 1_000,
                "Redis replication": 50 * 1_600 + 10 * 200,
                "MongoDB processors": 1_010 * (2 + 5) / 0.6e6,
                "MongoDB size": 1_010 * 90 * 86_400 * 200,
                "oplog": 1_010 * 500,
            }
        )
        assert load.first.bound == "MongoDB size"

    def test_holds_no_more_entries_than_there_are_notes(self):
        load = scale.load_of(10**6, 1_000, PAGE, SIZES)

        assert load.needs["Redis memory"].amount == 1_000 * 1_000

    def test_names_the_row_that_the_bench_lacks(self):
        with pytest.raises(LookupError, match="no row of cached read"):
            scale.load_of(1, 1, "", SIZES)


class TestPage:
    TEXT = (ROOT / "docs" / "scale.md").read_text()

    def test_says_what_was_measured_and_computed(self):
        assert scale.MARKERS.filled(self.TEXT, scale.table()) == self.TEXT

    def test_has_an_answer_to_every_bound(self):
        answers = self.TEXT.partition("| bound |")[2]
        sizes = json.loads((ROOT / "docs" / scale.SIZES).read_text())["quantities"]
        page = (ROOT / "docs" / scale.BENCHMARKS).read_text()
        firsts = [line.split("|")[1] for line in answers.splitlines() if line.startswith("|")]

        for bound in scale.load_of(1, 1, page, sizes).needs:
            assert any(bound in first for first in firsts), bound

    def test_assumes_the_defaults_of_the_settings(self, settings):
        assert (
            settings.CACHE_TTL_NOTE_SECONDS + settings.CACHELAYER["GRACE_SECONDS"]
            == scale.ENTRY_SECONDS
        )
        assert settings.ACTIVITY_RETENTION_DAYS * 86_400 == scale.RETENTION_SECONDS
