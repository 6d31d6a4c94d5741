"""From the spool into a real MongoDB: once, whatever happens on the way."""

import threading
import time
from pathlib import Path

import bson
import pytest

from activity import ledger, metrics, services, shipper, spool
from activity.checkpoint import Checkpoint
from activity.documents import ActivityEvent
from activity.shipper import Pace, Shipper
from activity.spool import Record, Spool
from config.stack.process import wait_until

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {"status": 200}}


@pytest.fixture(autouse=True)
def _no_events() -> None:
    ActivityEvent.ensure_indexes()
    ActivityEvent._get_collection().delete_many({})


@pytest.fixture
def own(tmp_path) -> Spool:
    return Spool(tmp_path / "spool", max_bytes=10**9)


def stored() -> list[bson.ObjectId]:
    return sorted(event["_id"] for event in ActivityEvent._get_collection().find({}, {"_id": 1}))


class TestPace:
    """Of a process whose other threads use so many cores while a batch takes so long."""

    def pause_seconds(self, monkeypatch, *, cores: float, seconds: float, waited_seconds: int = 1):
        readings = iter([(0.0, 0.0), (seconds, cores * seconds)])
        monkeypatch.setattr(Pace, "_measure", lambda *_: next(readings))
        recorded_at = int(time.time()) - waited_seconds
        document = bytes(9) + recorded_at.to_bytes(4)
        return Pace().pause_seconds([Record(document, 0, 0, 0)], seconds)

    def test_of_an_idle_process_there_is_no_pause(self, monkeypatch):
        assert self.pause_seconds(monkeypatch, cores=0.2, seconds=0.1) == 0

    def test_of_a_busy_one_shipping_takes_a_tenth_of_the_time(self, monkeypatch):
        assert self.pause_seconds(monkeypatch, cores=0.9, seconds=0.1) == pytest.approx(0.9)

    def test_a_pause_has_a_limit(self, monkeypatch):
        assert self.pause_seconds(monkeypatch, cores=0.9, seconds=2.0) == 1

    def test_an_event_that_has_waited_a_minute_waits_no_longer(self, monkeypatch):
        assert self.pause_seconds(monkeypatch, cores=0.9, seconds=0.1, waited_seconds=62) == 0

    def test_a_stop_ends_the_pause(self, own, monkeypatch):
        monkeypatch.setattr(Pace, "pause_seconds", lambda *_: 3600.0)
        for _ in range(1_200):
            own.append(EVENT)
        shipper = Shipper(own)
        shipper.stop()

        assert shipper.ship() == 1_200


class TestShip:
    def test_brings_every_event_once_and_nothing_twice(self, own):
        ids = [own.append(EVENT) for _ in range(1_200)]
        shipper = Shipper(own)

        assert shipper.ship() == 1_200
        assert shipper.ship() == 0

        assert stored() == sorted(ids)

    def test_ships_the_tail_of_the_segment_that_is_being_written(self, own):
        shipper = Shipper(own)
        own.append(EVENT)
        shipper.ship()
        second = own.append(EVENT)

        assert shipper.ship() == 1
        assert second in stored()
        assert own.current.exists()

    def test_a_batch_that_is_sent_twice_is_stored_once(self, own, monkeypatch):
        """The process dies after MongoDB took the batch, before that was noted."""
        for _ in range(10):
            own.append(EVENT)
        before = metrics.REPEATED._value.get()
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", lambda self, *args, **options: None)
            Shipper(own).ship()

        assert Shipper(own).ship() == 0

        assert len(stored()) == 10
        assert metrics.REPEATED._value.get() == before + 10

    def test_adopts_what_a_dead_process_left(self, own, tmp_path):
        dead = Spool(tmp_path / "spool", max_bytes=10**9)
        identity = dead.append(EVENT)
        path = dead.current
        assert Shipper(own).ship() == 0  # it lives
        dead.close()

        assert Shipper(own).ship() == 1

        assert stored() == [identity]
        assert not path.exists()
        assert ledger.entries(own.folder)[identity.binary[4:9].hex()].since(0) == 1

    def test_an_event_that_mongodb_refuses_holds_up_no_other(self, own, monkeypatch):
        own.append(EVENT)
        own.append(EVENT | {"details": {"x": "y" * 5_000}})
        own.append(EVENT)
        before = metrics.REJECTED._value.get()
        database = ActivityEvent._get_db()
        rule = {"details.x": {"$exists": False}}
        database.command("collMod", "activity_logs", validator=rule)
        try:
            assert Shipper(own).ship() == 2
        finally:
            database.command("collMod", "activity_logs", validator={})

        assert metrics.REJECTED._value.get() == before + 1
        assert Shipper(own).ship() == 0

    def test_two_shippers_at_once_store_once(self, own, tmp_path):
        ids = []
        for _ in range(6):
            other = Spool(tmp_path / "spool", max_bytes=10**9)
            ids += [other.append(EVENT) for _ in range(300)]
            other.close()
        threads = [threading.Thread(target=Shipper(own).ship) for _ in range(4)]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert stored() == sorted(ids)


class TestOutage:
    def test_what_is_recorded_meanwhile_is_shipped_afterwards(self, own, mongodb_restored):
        shipper = Shipper(own)
        thread = threading.Thread(target=shipper.run)
        thread.start()
        ids = [own.append(EVENT)]
        assert wait_until(lambda: len(stored()) == 1, 30)
        mongodb_restored.kill("mongodb")

        ids += [own.append(EVENT) for _ in range(700)]
        assert spool.waiting(own.folder)[0] == 700
        mongodb_restored.start("mongodb")

        assert wait_until(lambda: spool.waiting(own.folder)[0] == 0, 30)
        assert stored() == sorted(ids)
        shipper.stop()
        thread.join()


class TestStart:
    def test_ships_in_the_background_and_at_its_end_what_is_left(self, settings, monkeypatch):
        at_exit = []
        monkeypatch.setattr(
            services, "Finalize", lambda of, finish, exitpriority: at_exit.append(finish)
        )
        services.start_shipping()
        identity = services.own_spool().append(EVENT)
        assert wait_until(lambda: stored() == [identity], 30)

        at_exit[0]()

        assert services.own_spool().current is None
        assert services.spool_state() == {
            "depth_events": 0,
            "depth_bytes": 0,
            "oldest_age_seconds": 0.0,
            "damaged_files": 0,
            "damaged_events": 0,
        }


def test_a_batch_is_no_larger_than_it_may_be(own, monkeypatch):
    sizes = []
    store = shipper._store
    monkeypatch.setattr(shipper, "_store", lambda batch: sizes.append(len(batch)) or store(batch))
    for _ in range(1_100):
        own.append(EVENT)

    Shipper(own).ship()

    assert sizes == [500, 500, 100]
    assert isinstance(own.folder, Path)
