"""get_or_load over a real Redis: hits, misses, the fence, single flight, absent and stale values."""

import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import redis
from django.db import OperationalError, transaction

from cachelayer import client, entries, protocol, read
from cachelayer.entries import Bypass, Source
from cachelayer.invalidation import clear, invalidate
from cachelayer.namespace import Namespace
from cachelayer.read import get_or_load
from cachelayer.single_flight import Flight

pytestmark = pytest.mark.django_db(transaction=True)


class Word(msgspec.Struct, frozen=True):
    text: str


def tags_of_word(member: str) -> tuple[str, ...]:
    """The tags behind the first plus, else the word's own."""
    name, *tags = member.split("+")
    return tuple(tags) or (f"word:{name}",)


WORDS = Namespace(
    name="words",
    pattern="words:{name}",
    prefix="words:",
    member=".+",
    example="words:one",
    tags_of=tags_of_word,
    schema=1,
    value_type=Word,
    ttl_seconds=300,
    absent_ttl_seconds=30,
    holds="a word",
    invalidated_by="tests",
)


def key(name: str = "one", *tags: str):
    return WORDS.key("+".join((name, *tags)))


LOADED = Word("loaded")


class Loads:
    """A loader that counts, and does on its way what a test wants."""

    def __init__(self, value: Word | None = LOADED, during=None):
        self.value, self.during, self.count = value, during, 0

    def __call__(self):
        self.count += 1
        value = self.value  # read first, then let the world change
        if self.during:
            self.during()
        return value


def never():
    raise AssertionError("loaded, though a valid copy is there")


def expire(entry_key) -> None:
    """Rewrite the entry as one whose freshness is over, as time would."""
    age(entry_key, seconds=1_000)


def age(entry_key, *, seconds: float) -> None:
    """Rewrite the entry as one that was stored so long ago."""
    redis_client = client.client()
    entry = redis_client.get(entry_key.entry_name)
    end = entries._LENGTH_BYTES + int.from_bytes(entry[: entries._LENGTH_BYTES], "big")
    header = entries._decoder.decode(entry[entries._LENGTH_BYTES : end])
    aged = entries._encoder.encode(
        msgspec.structs.replace(header, stored_at_ms=header.stored_at_ms - int(seconds * 1000))
    )
    redis_client.set(
        entry_key.entry_name,
        len(aged).to_bytes(entries._LENGTH_BYTES, "big") + aged + entry[end:],
        px=60_000,
    )


class TestHit:
    def test_returns_what_was_stored_without_loading(self):
        get_or_load(key(), Loads())

        cached = get_or_load(key(), never)

        assert (cached.value, cached.source) == (Word("loaded"), Source.HIT)
        assert 240 <= cached.remaining_seconds <= 300

    def test_costs_one_round_trip_and_no_statement(self, django_assert_num_queries, monkeypatch):
        get_or_load(key(), Loads())
        sent = []
        send = redis.connection.AbstractConnection.send_packed_command
        monkeypatch.setattr(
            redis.connection.AbstractConnection,
            "send_packed_command",
            # By whom: the lease is renewed by a thread of its own.
            lambda self, *args, **kwargs: (
                sent.append(threading.get_ident()),
                send(self, *args, **kwargs),
            )[1],
        )

        with django_assert_num_queries(0):
            get_or_load(key(), never)

        assert sent.count(threading.get_ident()) == 1

    def test_every_key_that_a_miss_leaves_has_a_lifetime(self, redis_client, settings):
        get_or_load(key(), Loads())
        get_or_load(key("absent"), Loads(None))

        names = list(redis_client.scan_iter(f"{settings.CACHELAYER['PREFIX']}:*"))

        assert len(names) == 7  # two entries, two tags, the namespace's tag, why each was missed
        assert all(redis_client.pttl(name) > 0 for name in names)

    def test_lifetimes_are_spread_so_that_what_was_loaded_together_lives_apart(self):
        cached = [get_or_load(key(str(n)), Loads()) for n in range(30)]
        left = [get_or_load(key(str(n)), never).remaining_seconds for n in range(30)]

        assert all(result.source is Source.LOADED for result in cached)
        assert len(set(left)) > 5
        assert all(240 <= seconds <= 300 for seconds in left)  # 270, less what this test takes


class TestMiss:
    def test_absence_is_cached_too(self):
        get_or_load(key(), Loads(None))

        cached = get_or_load(key(), never)

        assert (cached.value, cached.source) == (None, Source.HIT)
        assert cached.remaining_seconds <= 33

    @pytest.mark.parametrize("damage", [b"", b"\xff", b"{}", b"\x95\x01\x02\x03\x04\x05"])
    def test_unreadable_bytes_are_a_miss(self, redis_client, damage):
        get_or_load(key(), Loads())
        redis_client.set(key().entry_name, damage)

        assert get_or_load(key(), Loads()).source is Source.LOADED

    def test_another_schema_is_a_miss(self):
        get_or_load(key(), Loads())
        newer = dataclasses.replace(WORDS, schema=2).key("one")

        assert protocol.look(newer).reason == "epoch"

    def test_a_lost_stamp_is_a_miss(self, redis_client):
        get_or_load(key(), Loads())
        redis_client.unlink(key().stamp_names[1])

        assert get_or_load(key(), Loads()).source is Source.LOADED

    def test_an_error_of_the_load_is_raised_and_not_cached(self, redis_client):
        with pytest.raises(KeyError):
            get_or_load(key(), lambda: {}["nothing"])

        assert redis_client.get(key().lease_name) is None
        assert get_or_load(key(), Loads()).source is Source.LOADED


class TestFence:
    def test_a_load_that_an_invalidation_overtook_is_not_stored(self):
        """The hole that get_or_set has: here the old value must not come back."""
        cached = get_or_load(key(), Loads(Word("old"), during=lambda: invalidate("word:one")))

        assert cached.source is Source.FENCED
        assert get_or_load(key(), Loads(Word("new"))).value == Word("new")

    def test_a_stamp_evicted_and_made_again_during_the_load_is_no_longer_the_same(
        self, redis_client
    ):
        def evicted_and_made_again():
            redis_client.unlink(*key().stamp_names)
            protocol.begin(key("other", "word:one"))

        assert get_or_load(key(), Loads(during=evicted_and_made_again)).source is Source.FENCED

    def test_an_old_load_stored_late_carries_stamps_that_no_longer_match(
        self, redis_client, settings
    ):
        settings.CACHELAYER = settings.CACHELAYER | {"LEASE_MS": 50}
        ticket = protocol.begin(key())
        invalidate("word:one")
        late = entries.encode(key(), Word("old"), stamps=ticket.stamps, fresh_ms=60_000)
        redis_client.set(key().entry_name, late)  # even without the check in end

        assert get_or_load(key(), Loads(Word("new"))).value == Word("new")

    def test_clearing_the_namespace_overtakes_too(self):
        cached = get_or_load(key(), Loads(during=lambda: clear([WORDS], cleared_by="a test")))

        assert cached.source is Source.FENCED

    def test_an_entry_with_many_tags_dies_with_any_of_them(self):
        for tag in ("a", "b", "c"):
            many = key("many", "a", "b", "c")
            get_or_load(many, Loads())
            assert get_or_load(many, never).source is Source.HIT

            invalidate(tag)

            assert get_or_load(many, Loads()).source is Source.LOADED


class TestSingleFlight:
    def test_of_many_threads_one_loads_and_the_others_wait(self):
        slow = Loads(during=lambda: threading.Event().wait(0.2))

        with ThreadPoolExecutor(20) as pool:
            cached = list(pool.map(lambda _: get_or_load(key(), slow), range(20)))

        assert slow.count == 1
        assert {result.value for result in cached} == {Word("loaded")}
        sources = [result.source for result in cached]
        assert sources.count(Source.LOADED) == 1
        assert set(sources) <= {Source.LOADED, Source.COLLAPSED, Source.HIT}

    def test_who_waits_for_an_overtaken_load_gets_the_new_value(self):
        started, go_on = threading.Event(), threading.Event()
        now = {"value": Word("old")}

        def load():
            value = now["value"]
            started.set()
            go_on.wait(30)
            return value

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(get_or_load, key(), load)
            started.wait(30)
            now["value"] = Word("new")
            invalidate("word:one")
            second = pool.submit(get_or_load, key(), load)
            threading.Event().wait(0.05)
            go_on.set()

        assert first.result().value == Word("old")  # its read began before the write
        assert second.result().value == Word("new")

    def test_who_waits_shares_the_error_of_the_load(self, monkeypatch):
        started, go_on, waiting = threading.Event(), threading.Event(), threading.Semaphore(0)
        wait = Flight.wait
        monkeypatch.setattr(
            Flight, "wait", lambda self, seconds: waiting.release() or wait(self, seconds)
        )

        def load():
            started.set()
            go_on.wait(30)
            raise ValueError("the store said no")

        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(get_or_load, key(), load)
            started.wait(30)
            others = [pool.submit(get_or_load, key(), never) for _ in range(2)]
            assert waiting.acquire(timeout=30)
            assert waiting.acquire(timeout=30)
            go_on.set()

        for future in (first, *others):
            with pytest.raises(ValueError, match="said no"):
                future.result()

    def test_waits_for_the_lease_of_another_process(self, monkeypatch):
        """The other process is played by a lease and a late entry, as Redis would show them."""
        theirs = protocol.begin(key())  # its lease is held, its load runs
        begin, looks = protocol.begin, itertools.count(1)

        def begin_again(*args, **options):
            if next(looks) == 5:
                protocol.end(key(), theirs, Word("theirs"))
            return begin(*args, **options)

        monkeypatch.setattr(protocol, "begin", begin_again)

        cached = get_or_load(key(), never)

        assert (cached.value, cached.source) == (Word("theirs"), Source.COLLAPSED)

    def test_loads_itself_when_the_lease_s_holder_died(self, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"LEASE_MS": 100}
        protocol.begin(key())  # and never ends

        cached = get_or_load(key(), Loads())

        assert cached.value == Word("loaded")

    def test_a_waiter_past_its_deadline_loads_itself(self, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"LEASE_MS": 100}
        started, go_on = threading.Event(), threading.Event()

        def hang():
            started.set()
            go_on.wait(30)
            return Word("late")

        with ThreadPoolExecutor(2) as pool:
            pool.submit(get_or_load, key(), hang)
            started.wait(30)
            try:
                assert get_or_load(key(), Loads()).value == Word("loaded")
            finally:
                go_on.set()


class TestTransactions:
    def test_inside_a_transaction_the_cache_is_neither_read_nor_filled(self):
        get_or_load(key(), Loads(Word("cached")))

        with transaction.atomic():
            inside = get_or_load(key(), Loads(Word("uncommitted")))

        assert (inside.value, inside.source) == (Word("uncommitted"), Source.BYPASSED)
        assert get_or_load(key(), never).value == Word("cached")

    def test_an_invalidation_takes_effect_at_the_commit(self):
        get_or_load(key(), Loads())

        with transaction.atomic():
            invalidate("word:one")
            assert protocol.look(key()).fresh

        assert not protocol.look(key()).fresh

    def test_a_rollback_leaves_no_trace(self):
        get_or_load(key(), Loads())

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            invalidate("word:one")
            _ = 1 / 0

        assert get_or_load(key(), never).source is Source.HIT

    def test_a_rollback_to_a_savepoint_leaves_no_trace(self):
        get_or_load(key("one"), Loads())
        get_or_load(key("two"), Loads())

        with transaction.atomic():
            invalidate("word:two")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                invalidate("word:one")
                _ = 1 / 0

        assert get_or_load(key("one"), never).source is Source.HIT
        assert get_or_load(key("two"), Loads()).source is Source.LOADED

    def test_a_hook_that_raises_does_not_keep_the_invalidation_back(self):
        get_or_load(key(), Loads())

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            invalidate("word:one")
            transaction.on_commit(lambda: 1 / 0)

        assert not protocol.look(key()).fresh


class TestBypass:
    def test_refresh_loads_and_replaces_the_copy(self):
        get_or_load(key(), Loads(Word("old")))

        cached = get_or_load(key(), Loads(Word("new")), bypass=Bypass.REFRESH)

        assert (cached.value, cached.source) == (Word("new"), Source.BYPASSED)
        assert get_or_load(key(), never).value == Word("new")

    def test_a_refresh_that_fails_gives_the_lease_back(self, redis_client):
        with pytest.raises(KeyError):
            get_or_load(key(), lambda: {}["x"], bypass=Bypass.REFRESH)

        assert redis_client.get(key().lease_name) is None

    def test_no_store_touches_nothing(self, redis_client, settings):
        get_or_load(key(), Loads(), bypass=Bypass.NO_STORE)

        assert list(redis_client.scan_iter(f"{settings.CACHELAYER['PREFIX']}:*")) == []


class TestStaleIfError:
    def down(self):
        raise OperationalError("connection refused")

    def test_an_expired_copy_is_served_while_the_store_is_down(self):
        get_or_load(key(), Loads(Word("kept")))
        expire(key())

        cached = get_or_load(key(), self.down)

        assert (cached.value, cached.source) == (Word("kept"), Source.STALE)
        assert cached.remaining_seconds < 0

    def test_an_invalidated_copy_never_is(self):
        get_or_load(key(), Loads(Word("replaced")))
        invalidate("word:one")

        with pytest.raises(OperationalError):
            get_or_load(key(), self.down)

    def test_another_error_is_raised(self):
        get_or_load(key(), Loads())
        expire(key())

        with pytest.raises(KeyError):
            get_or_load(key(), lambda: {}["bug"])

    def test_an_expired_copy_is_loaded_anew_while_the_store_answers(self):
        get_or_load(key(), Loads(Word("old")))
        expire(key())

        cached = get_or_load(key(), Loads(Word("new")))

        assert (cached.value, cached.source) == (Word("new"), Source.LOADED)


class TestPeekMany:
    def test_looks_at_all_keys_in_their_order(self):
        get_or_load(key("b"), Loads(Word("b")))

        lookups = read.peek_many([key("a"), key("b")])

        assert [lookup and lookup.reason for lookup in lookups] == ["absent", None]

    def test_of_nothing_is_nothing(self):
        assert read.peek_many([]) == []
