"""The keys of a namespace by the beginning of their names: no wildcards, bounds, age and size."""

import threading

import pytest

from cachelayer import client, entries, key_listing, protocol, read
from cachelayer.client import CacheDown
from cachelayer.http import represent
from cachelayer.invalidation import invalidate
from cachelayer.key_listing import list_keys
from cachelayer.namespace import root_of_names
from notes.cache_keys import NOTE_LISTS, NOTES
from profiles.cache_keys import PROFILES
from tests.cachelayer.test_read import expire

pytestmark = pytest.mark.django_db(transaction=True)
BODY = b'{"title":"A title"}'


def store(namespace, *members: str, body: bytes = BODY) -> None:
    for member in members:
        read.get_or_load(namespace.key(member), lambda: represent(body))


def names(namespace, beginning: str = "") -> list[str]:
    return [row.name for row in list_keys(namespace, beginning).rows]


class TestListKeys:
    def test_returns_those_that_begin_so_by_name(self):
        store(PROFILES, "b", "ab", "abc")

        assert names(PROFILES, "ab") == ["user:profile:ab", "user:profile:abc"]
        assert names(PROFILES) == ["user:profile:ab", "user:profile:abc", "user:profile:b"]

    def test_takes_a_beginning_with_the_prefix_of_the_namespace(self):
        store(PROFILES, "abc", "b")

        assert names(PROFILES, "user:profile:a") == ["user:profile:abc"]

    def test_leaves_out_other_namespaces_stamps_and_notes(self):
        note_id = "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"
        store(NOTES, note_id)
        store(NOTE_LISTS, "user:abc")

        assert names(NOTES) == [f"notes:{note_id}"]
        assert names(NOTES, "list:") == []
        assert names(NOTE_LISTS) == ["notes:list:user:abc"]

    def test_leaves_out_another_site_whose_keys_are_in_the_same_redis(self, settings):
        store(PROFILES, "abc")
        settings.CACHELAYER = settings.CACHELAYER | {
            "PREFIX": settings.CACHELAYER["PREFIX"] + "-other"
        }

        assert names(PROFILES) == []

    @pytest.mark.parametrize("wildcard", ["*", "?", "[a-z]", "[^x]", "a*", "\\", "\\*", "a[b", "é"])
    def test_takes_no_character_as_a_wildcard(self, wildcard):
        store(PROFILES, "abc")

        assert names(PROFILES, wildcard) == []

    @pytest.mark.parametrize("member", ["a-b.c_d@e:f", "a.b"])
    def test_finds_names_with_punctuation(self, member):
        store(PROFILES, member, "axb")

        assert names(PROFILES, member) == [f"user:profile:{member}"]

    def test_says_age_freshness_and_size(self, redis_client):
        body = b'{"title":"' + b"x" * 50_000 + b'"}'
        store(PROFILES, "abc", body=body)

        [row] = list_keys(PROFILES, "").rows

        key = PROFILES.key("abc")
        assert row.size_bytes == redis_client.strlen(key.entry_name) > 50_000
        assert row.reason is None
        lifetime_seconds = row.age_seconds + row.fresh_seconds
        assert 0.9 * PROFILES.ttl_seconds <= lifetime_seconds + 0.001
        assert lifetime_seconds <= PROFILES.ttl_seconds

    def test_says_why_an_entry_is_not_served(self, redis_client):
        store(PROFILES, "changed", "old", "damaged", "served")
        invalidate("profile:changed")
        expire(PROFILES.key("old"))
        redis_client.set(PROFILES.key("damaged").entry_name, b"\xff\xff")

        rows = {row.name.rpartition(":")[2]: row for row in list_keys(PROFILES, "").rows}

        reasons = {name: row.reason for name, row in rows.items()}
        assert reasons == {
            "changed": "invalidated",
            "old": "expired",
            "damaged": "corrupt",
            "served": None,
        }
        assert rows["old"].fresh_seconds < 0
        assert rows["damaged"].age_seconds is None

    def test_says_the_same_of_an_entry_as_a_read_does(self):
        store(PROFILES, "abc")
        key = PROFILES.key("abc")

        [row] = list_keys(PROFILES, "abc").rows

        assert row.size_bytes == protocol.look(key).size_bytes

    def test_reads_a_header_longer_than_a_head(self):
        origin = "q=" + "x" * 2 * entries.HEAD_BYTES
        key = NOTE_LISTS.key("user:abc", origin=lambda: origin)
        read.get_or_load(key, lambda: represent(BODY))

        [row] = list_keys(NOTE_LISTS, "").rows

        assert row.reason is None

    def test_no_more_than_so_many_are_read_and_it_says_that_more_exist(self, monkeypatch):
        monkeypatch.setattr(key_listing, "KEYS_MAX", 3)
        store(PROFILES, *"abcde")

        listing = list_keys(PROFILES, "")

        assert len(listing.rows) == 3
        assert listing.more
        assert listing.cursor == 0

    def test_exactly_so_many_are_all(self, monkeypatch):
        monkeypatch.setattr(key_listing, "KEYS_MAX", 3)
        store(PROFILES, *"abc")

        assert not list_keys(PROFILES, "").more

    def test_a_search_that_ends_early_can_be_continued_to_the_end(self, monkeypatch, redis_client):
        monkeypatch.setattr(key_listing, "_SCAN_COUNT", 10)
        monkeypatch.setattr(key_listing, "SCANNED_MAX", 20)
        store(PROFILES, *"abcde")
        others = [f"{root_of_names()}some:{number}" for number in range(200)]
        redis_client.mset(dict.fromkeys(others, "x"))

        parts = [list_keys(PROFILES, "")]
        while parts[-1].cursor:
            parts.append(list_keys(PROFILES, "", cursor=parts[-1].cursor))

        redis_client.delete(*others)
        assert len(parts) > 1
        assert {row.name[-1] for part in parts for row in part.rows} == set("abcde")

    def test_reads_all_entries_in_one_round_trip(self, monkeypatch):
        store(PROFILES, *"abcde")
        here, operations = threading.get_ident(), []

        def observe(operation: str, *times: float) -> None:
            if threading.get_ident() == here:  # in others the lease is renewed
                operations.append(operation)

        monkeypatch.setattr(client, "observers", [observe])

        list_keys(PROFILES, "")

        assert operations[-1] == "list"
        assert set(operations[:-1]) == {"scan"}

    def test_raises_where_redis_does_not_answer(self, stack, closed_breaker):
        stack.kill("redis")
        try:
            with pytest.raises(CacheDown):
                list_keys(PROFILES, "")
        finally:
            stack.start("redis")
