"""Counting and warming: nothing that stands in Redis, and no store that is away, ends their threads."""

import sys
import threading
from uuid import uuid4

import pytest
from django.db import connection

from cachelayer import (
    background,
    counts,
    invalidation,
    later,
    popularity,
    protocol,
    relay,
    trust,
    upkeep,
)
from notes import cache_keys as note_keys
from notes.models import Note
from profiles import cache_keys as profile_keys
from profiles import services
from tests.builders import make_notes

pytestmark = pytest.mark.django_db(transaction=True)


class TestCounting:
    def test_no_read_is_lost_while_others_are_flushed(self):
        """Each thread counts names that are new, which makes what is flushed grow."""
        threads, reads = 4, 3_000

        def read(thread: int) -> None:
            for number in range(reads):
                counts.count("notes", f"notes:{thread}:{number}", "hit")

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            readers = [threading.Thread(target=read, args=[number]) for number in range(threads)]
            for reader in readers:
                reader.start()
            while any(reader.is_alive() for reader in readers):
                popularity.flush()
        finally:
            sys.setswitchinterval(before)
        popularity.flush()

        counted = sum(sum(results.values()) for _, results in popularity.minutes(3))
        assert counted == threads * reads

    def test_names_beyond_the_bound_are_not_told_apart_and_known_ones_still_counted(
        self, monkeypatch
    ):
        monkeypatch.setattr(counts, "_KEYS_PENDING_MAX", 1)
        for name in ("notes:1", "notes:2", "notes:1"):
            counts.count("notes", name, "hit")
        popularity.flush()

        assert popularity.hottest("notes", 5) == [("notes:1", 2.0)]


class TestWarming:
    @pytest.fixture(autouse=True)
    def _mongodb_serves(self, settings) -> None:
        settings.PROFILE_BACKEND = "mongo"

    @pytest.fixture
    def notes(self, api, redis_client) -> list[Note]:
        """Notes that were read and then pushed out."""
        made = make_notes(3)
        for note in made:
            api.get(f"/api/v1/notes/{note.pk}")
        popularity.flush()
        redis_client.unlink(*(note_keys.note(note.pk).entry_name for note in made))
        return made

    def test_what_is_no_key_is_left_out(self, notes, redis_client):
        strangers = ["notes:of another version", "user:profile:abc", "", b"\xff\xfe", "notes:"]
        redis_client.zadd(popularity._hot("notes"), dict.fromkeys(strangers, 1_000.0))

        background._warm()

        assert all(protocol.look(note_keys.note(note.pk)).fresh for note in notes)

    def test_what_is_of_another_type_is_no_reason_to_die(self, notes, redis_client):
        redis_client.unlink(popularity._hot("notes"))
        redis_client.set(popularity._hot("notes"), "text")

        background._warm()

        assert not protocol.look(note_keys.note(notes[0].pk)).fresh

    def test_without_mongodb_notes_are_warmed_all_the_same(self, notes, mongodb_restored):
        counts.count("user:profile", "user:profile:abc", "hit")
        popularity.flush()
        mongodb_restored.kill("mongodb")

        background._warm()

        assert all(protocol.look(note_keys.note(note.pk)).fresh for note in notes)
        assert not protocol.look(profile_keys.profile("abc")).fresh

    def test_without_postgresql_profiles_are(self, notes, stack, redis_client):
        user = f"warm-{uuid4()}"  # MongoDB's documents outlive the test that made them
        services.profile_create(
            user_id=user, email=f"{user}@example.org", preferences={}, caller=None
        )
        counts.count("user:profile", f"user:profile:{user}", "hit")
        popularity.flush()
        redis_client.unlink(profile_keys.profile(user).entry_name)
        connection.close()
        stack.kill("postgres")
        try:
            background._warm()
            assert protocol.look(profile_keys.profile(user)).fresh
        finally:
            stack.start("postgres")
            connection.close()
            services.profile_delete(user_id=user, caller=None)

    def test_without_redis_it_ends_quietly(self, stack, closed_breaker):
        stack.kill("redis")
        try:
            background._warm()
        finally:
            stack.start("redis")


class TestStart:
    def test_each_thread_is_supervised(self, monkeypatch):
        names = []
        monkeypatch.setattr(background, "supervise", lambda name, run: names.append(name))
        for module in (relay, upkeep):
            monkeypatch.setattr(module, "supervise", lambda name, run, stopping: names.append(name))
        monkeypatch.setattr(later, "supervise", lambda name, run: names.append(name))
        for collected in (invalidation.delivered_rows, protocol.invalidated_tags):
            monkeypatch.setattr(collected, "is_running", False)
        monkeypatch.setattr(trust.lease, "start", lambda: names.append("cache-trust"))

        background.start()

        assert names == [
            "cache-trust",
            "cache-relay",
            "cache-removals",
            "cache-records",
            "cache-first-level",
            "cache-counts",
            "cache-warming",
        ]
