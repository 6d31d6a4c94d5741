"""What lies in Redis, and for how long: a stamp outlives each entry that carries it, and little more."""

import uuid

import pytest

from cachelayer import protocol
from cachelayer.namespace import STAMP_MARGIN_SECONDS, record_name, root_of_names, stamp_name
from notes import cache_keys
from notes.models import Note
from tests.builders import make_note
from tests.cachelayer.test_read import Loads, Word, get_or_load, key

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lifetimes(redis_client):
    """Return the seconds that each key of this test's cache still has, by its logical name."""

    def read() -> dict[str, float]:
        seconds = {}
        for pattern, root in (
            (root_of_names(), root_of_names()),
            (stamp_name(""), stamp_name("").removesuffix("stamp:")),
        ):
            for name in redis_client.scan_iter(f"{pattern}*", count=1_000):
                logical = name.decode().removeprefix(root)
                seconds[logical] = redis_client.pttl(name) / 1000
        return seconds

    return read


class TestAbsent:
    READS = 100

    def test_reads_of_what_does_not_exist_leave_three_keys_each_for_little_longer_than_the_entry(
        self, api, settings, lifetimes
    ):
        ids = [str(uuid.uuid4()) for _ in range(self.READS)]
        for note_id in ids:
            assert api.get(f"/api/v1/notes/{note_id}").status_code == 404

        left = lifetimes()

        own = {
            name: seconds
            for name, seconds in left.items()
            if any(note_id in name for note_id in ids)
        }
        assert len(own) == 3 * self.READS
        assert set(left) - set(own) <= {"stamp:namespace:notes", "hot:notes"}
        most = settings.CACHE_TTL_ABSENT_SECONDS + STAMP_MARGIN_SECONDS
        assert all(0 < seconds <= most for seconds in own.values())

    def test_a_load_that_fails_leaves_nothing_that_stays(self, lifetimes):
        with pytest.raises(KeyError):
            get_or_load(key(), lambda: {}["x"])

        left = lifetimes()
        assert all(0 < seconds <= STAMP_MARGIN_SECONDS for seconds in left.values()), left

    def test_what_does_not_exist_shortens_no_stamp_that_others_carry(self, lifetimes):
        get_or_load(key("one"), Loads())
        before = lifetimes()["stamp:namespace:words"]

        get_or_load(key("two"), Loads(None))

        assert before - 30 < lifetimes()["stamp:namespace:words"] <= before


class TestPresent:
    def test_each_stamp_outlives_the_entry_in_its_grace_time_too(self, settings, lifetimes):
        get_or_load(key(), Loads())

        left = lifetimes()

        assert left["words:one"] > settings.CACHELAYER["GRACE_SECONDS"]
        for stamp in ("stamp:namespace:words", "stamp:word:one"):
            margin = left[stamp] - left["words:one"]
            assert STAMP_MARGIN_SECONDS - 30 < margin <= left[stamp] / 5 + STAMP_MARGIN_SECONDS + 1

    def test_so_does_one_that_was_there_for_a_shorter_life(self, redis_client, lifetimes):
        """Made for an absent thing, carried by an entry since."""
        get_or_load(key(), Loads(None))
        redis_client.unlink(key().entry_name)

        get_or_load(key(), Loads())

        left = lifetimes()
        assert left["stamp:word:one"] > left["words:one"]

    def test_many_entries_of_one_stamp_keep_it_as_long_as_the_longest_lives(self, api, lifetimes):
        for _ in range(3):
            make_note()
        for page in (1, 2, 3):
            api.get(f"/api/v1/notes?page={page}&limit=1")

        left = lifetimes()

        lists = [seconds for name, seconds in left.items() if name.startswith("notes:list:")]
        assert len(lists) == 3
        assert left["stamp:notes:all"] > max(lists)

    def test_so_does_the_stamp_of_a_value_loaded_in_bulk(self, lifetimes):
        note_id = make_note()
        entry_key = cache_keys.note(note_id)
        tickets = protocol.begin_many([entry_key])
        protocol.end_many([(entry_key, tickets[0], Word("x"))])

        left = lifetimes()
        assert left[f"stamp:note:{note_id}"] > left[f"notes:{note_id}"]

    def test_a_value_that_was_refused_keeps_no_stamp(self, redis_client, lifetimes):
        ticket = protocol.begin(key())
        protocol.unlink(["word:one"])
        assert protocol.end(key(), ticket, Word("x")) == "fenced"

        assert lifetimes()["stamp:namespace:words"] <= STAMP_MARGIN_SECONDS

    def test_why_a_value_was_missed_is_noted_for_an_hour(self, api, redis_client):
        note_id = make_note()
        for _ in range(2):
            api.get(f"/api/v1/notes/{note_id}")
            Note.objects.filter(pk=note_id).update(title="New")
            protocol.unlink([f"note:{note_id}"])

            name = record_name("missed", f"notes:{note_id}")
            assert 3_500 < redis_client.ttl(name) <= 3_600
