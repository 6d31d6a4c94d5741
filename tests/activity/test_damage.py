"""
Whatever stands in the spool's files: what can be read is shipped once, all else is set aside.

The property test damages segments at random and holds acknowledged = shipped + waiting + dropped +
set aside. Most examples have a dictionary in MongoDB's place; some have MongoDB. PROVE_EXAMPLES sets
how many (make prove: 2 000).
"""

import contextlib
import errno
import os
import random
import struct
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import bson
import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import BulkWriteError

from activity import ledger, metrics, services, shipper, spool
from activity.documents import ActivityEvent
from activity.reconciliation import activity_reconcile
from activity.shipper import Shipper
from activity.spool import Spool
from cachelayer.supervision import recent_failures
from config.stack.process import wait_until

EXAMPLES = int(os.environ.get("PROVE_EXAMPLES", "150"))
AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)
EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {"status": 200}}


@pytest.fixture
def own(tmp_path) -> Spool:
    return Spool(tmp_path / "spool", max_bytes=10**9)


def stored() -> set[bytes]:
    return {row["_id"].binary for row in ActivityEvent._get_collection().find({}, {"_id": 1})}


def closed_segment(own: Spool, events: int) -> tuple[Path, list[bytes]]:
    ids = [own.append(EVENT).binary for _ in range(events)]
    path = own.current
    own.close()
    return path, ids


# Each gives what becomes of a segment's content; at and length are shares of it, from 0 to 1.
def _flip(content: bytes, at: int, length: int, garbage: bytes) -> bytes:
    return content[:at] + bytes(255 - byte for byte in content[at : at + 1]) + content[at + 1 :]


DAMAGES = {
    "flip": _flip,
    "zero": lambda c, at, length, garbage: (
        c[:at] + bytes(len(c[at : at + length])) + c[at + length :]
    ),
    "truncate": lambda c, at, length, garbage: c[:at],
    "zeros at the end": lambda c, at, length, garbage: c[:at] + bytes(len(c) - at),
    "garbage": lambda c, at, length, garbage: c[:at] + garbage + c[at:],
    "garbage in its place": lambda c, at, length, garbage: (
        c[:at] + garbage + c[at + len(garbage) :]
    ),
    "header": lambda c, at, length, garbage: garbage[:16] + c[len(garbage[:16]) :],
    "duplicate": lambda c, at, length, garbage: c[:at] + c[at - length : at] + c[at:],
    "remove": lambda c, at, length, garbage: c[:at] + c[at + length :],
    "empty": lambda c, at, length, garbage: b"",
    "suffix": lambda c, at, length, garbage: c[: len(c) - min(length, 30)],
    "swap": lambda c, at, length, garbage: c[:16] + c[at:] + c[16:at],
}
damage = st.tuples(
    st.sampled_from(sorted(DAMAGES)),
    st.integers(0, 9),  # which segment
    st.floats(0, 1),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=300),
)
history = st.fixed_dictionaries(
    {
        "shipped_first": st.integers(0, 25),  # events that are shipped before anything is damaged
        "then": st.integers(0, 25),
        "damages": st.lists(damage, min_size=1, max_size=3),
        "live": st.booleans(),  # whether the process lives on, and appends to the damaged segment
        "afterwards": st.integers(0, 5),
        "is_full": st.booleans(),  # whether the oldest are dropped in the end, instead of shipped
    }
)


def hurt(paths: list[Path], damages: list[tuple]) -> None:
    for kind, number, at, length, garbage in damages:
        path = paths[number % len(paths)]
        content = path.read_bytes()
        start = int(at * len(content))
        path.write_bytes(DAMAGES[kind](content, start, int(length * len(content)), garbage))


def readable(folder: Path, records: dict[bytes, bytes]) -> set[bytes]:
    """The ids of those events whose whole record stands somewhere in a segment."""
    contents = [path.read_bytes() for path in spool.segments(folder)]
    return {i for i, record in records.items() if any(record in content for content in contents)}


def play(case: dict, folder: Path, shipped_ids) -> None:
    """Play a history, and hold the books; shipped_ids tells what was stored."""
    own = Spool(folder, max_bytes=10**9)
    shipper = Shipper(own)
    records: dict[bytes, bytes] = {}
    record_bytes = 4 + len(bson.encode({"_id": ObjectId(), **EVENT, "timestamp": AN_HOUR_AGO}))

    def append(events: int) -> None:
        for _ in range(events):
            identity = own.append(EVENT).binary
            content = own.current.read_bytes()
            start = content.rfind(identity) - 13
            # Where the file ends within this page, what was stored beyond its end is in no file.
            record = content[start : start + record_bytes] if start >= 0 else b""
            records[identity] = record.ljust(record_bytes, b"\xff")

    append(case["shipped_first"])
    shipper.ship()
    append(case["then"])
    if not case["live"]:
        own.close()
    paths = spool.segments(folder)
    if paths:
        hurt(paths, case["damages"])
    append(case["afterwards"])
    before = shipped_ids()
    expected = before | readable(folder, records)
    if case["is_full"]:
        own.close()
        spool.make_room(folder, 0)
    for _ in range(3):  # a damaged segment of a living process ends first, and is read again then
        shipper.ship()
    own.close()
    shipper.ship()
    account = _books(folder)

    entries = ledger.entries(folder).values()
    dropped = sum(entry.dropped for entry in entries)
    set_aside = sum(entry.set_aside for entry in entries)
    assert shipped_ids() <= set(records)
    assert spool.waiting(folder)[0] == 0
    assert shipped_ids() == (before if case["is_full"] else expected)
    assert len(records) == len(shipped_ids()) + dropped + set_aside
    assert spool.segments(folder) == []
    assert not list(folder.glob("*.checkpoint"))
    if not case["is_full"]:
        assert spool.damaged(folder)[1] == set_aside
    shipper.ship()
    assert _books(folder) == account


def _books(folder: Path) -> tuple:
    return spool.damaged(folder), ledger.entries(folder), metrics.SET_ASIDE._value.get()


class TestBooks:
    """Files of a few events each, so that several of them are damaged in one history."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch) -> None:
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 2_000)

    @pytest.mark.timeout(0)
    @given(case=history)
    @settings(max_examples=EXAMPLES)
    def test_balance_whatever_is_damaged(self, case):
        rows: dict[bytes, bytes] = {}

        def store(documents: list[bytes]) -> tuple[int, list[bytes]]:
            new = {document[9:21]: document for document in documents}
            count = len(new.keys() - rows.keys())
            rows.update(new)
            return count, []

        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
            patch.setattr(shipper, "_store", store)
            play(case, Path(name), lambda: set(rows))

    @pytest.mark.timeout(0)
    @given(case=history)
    @settings(max_examples=EXAMPLES // 6)
    def test_balance_over_mongodb(self, case):
        ActivityEvent._get_collection().delete_many({})
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            play(case, folder, stored)
            account = activity_reconcile(since=AN_HOUR_AGO, folder=folder)

        assert (account.lost, account.doubled, account.elsewhere) == (0, 0, 0)
        assert account.acknowledged == account.stored + account.dropped + account.set_aside


class TestDamaged:
    """One kind of damage each, over MongoDB."""

    def test_zeros_at_the_end_lose_only_what_they_replaced(self, own):
        path, ids = closed_segment(own, 10)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 3 // 4] + bytes(len(content) // 4 + 4_096))
        later = own.append(EVENT).binary

        Shipper(own).ship()

        assert len(stored()) == 8
        assert stored() < {*ids, later}
        assert spool.damaged(own.folder) == (1, 3)

    def test_one_flipped_byte_costs_one_event(self, own):
        path, ids = closed_segment(own, 1_000)
        content = bytearray(path.read_bytes())
        content[len(content) // 10] ^= 1
        path.write_bytes(content)

        assert Shipper(own).ship() == 999

        assert stored() < set(ids)
        (damaged_file,) = own.folder.glob("*.damaged")
        assert damaged_file.read_bytes() == content
        account = activity_reconcile(since=AN_HOUR_AGO, folder=own.folder)
        assert (account.acknowledged, account.stored) == (1_000, 999)
        assert (account.set_aside, account.lost, account.damaged_files) == (1, 0, 1)

    def test_of_a_segment_that_is_being_written_all_that_follows_is_shipped(self, own):
        shipper = Shipper(own)
        ids = [own.append(EVENT).binary for _ in range(5)]
        shipper.ship()
        path = own.current
        ids += [own.append(EVENT).binary for _ in range(5)]
        with path.open("r+b") as file:
            file.seek(path.read_bytes().index(ids[5]) + 30)
            file.write(bytes(10))
        ids += [own.append(EVENT).binary for _ in range(5)]

        shipper.ship()
        ids.append(own.append(EVENT).binary)
        shipper.ship()

        assert stored() == set(ids) - {ids[5]}
        assert own.current != path
        assert spool.damaged(own.folder) == (1, 1)

    @pytest.mark.parametrize("cut_off", ["seg", "checkpoint"])
    @pytest.mark.parametrize("size", [0, 16, 300, 4_096])
    def test_a_file_that_is_cut_off_under_its_process_costs_what_was_in_it(
        self, own, cut_off, size
    ):
        """What is stored to a page that no file has would end the process."""
        shipper = Shipper(own)
        ids = [own.append(EVENT).binary for _ in range(40)]
        os.truncate(own.current.with_suffix(f".{cut_off}"), size)
        ids += [own.append(EVENT).binary for _ in range(40)]
        shipper.ship()
        ids += [own.append(EVENT).binary for _ in range(40)]

        own.close()
        shipper.ship()

        lost = len(ids) - len(stored())
        assert stored() <= set(ids)
        assert sum(entry.set_aside for entry in ledger.entries(own.folder).values()) == lost
        assert spool.damaged(own.folder)[1] == lost
        assert lost == 0 if cut_off == "checkpoint" else 0 < lost <= 80
        assert set(ids[80:]) <= stored()

    def test_half_a_record_at_the_end_of_a_live_segment_is_waited_for(self, own):
        """A reader may see the beginning of a record that is being written."""
        own.append(EVENT)
        with own.current.open("ab") as file:
            file.write(b"half of a record")

        Shipper(own).ship()

        assert len(stored()) == 1
        assert spool.damaged(own.folder) == (0, 0)

    @pytest.mark.parametrize("content", [b"", b"TRLS\x07\0\0\0", b"#!/bin/sh\n" * 9, bytes(5_000)])
    def test_what_is_no_segment_is_set_aside_as_it_is(self, own, content):
        (own.folder / "notes.seg").write_bytes(content)
        identity = own.append(EVENT).binary

        Shipper(own).ship()

        assert stored() == {identity}
        assert (own.folder / "notes.0.damaged").read_bytes() == content

    def test_what_is_no_file_is_set_aside(self, own, tmp_path):
        (tmp_path / "elsewhere").write_text("mine")
        (own.folder / "folder.seg").mkdir()
        (own.folder / "link.seg").symlink_to(tmp_path / "elsewhere")
        (own.folder / "broken.seg").symlink_to(tmp_path / "nowhere")
        os.mkfifo(own.folder / "pipe.seg")
        identity = own.append(EVENT).binary

        Shipper(own).ship()

        assert stored() == {identity}
        assert spool.damaged(own.folder) == (4, 0)
        assert (tmp_path / "elsewhere").read_text() == "mine"
        assert (own.folder / "folder.0.damaged").is_dir()

    def test_what_may_not_be_read_is_set_aside_with_its_count(self, own, monkeypatch):
        path, _ = closed_segment(own, 7)
        identity = own.append(EVENT).binary
        opened = os.open

        def refuse(name: object, *args: object) -> int:
            if name == path:
                raise OSError(errno.EACCES, "not allowed")
            return opened(name, *args)

        monkeypatch.setattr(os, "open", refuse)

        Shipper(own).ship()

        assert stored() == {identity}
        assert spool.damaged(own.folder) == (1, 7)

    def test_too_many_open_files_are_no_damage(self, own, monkeypatch):
        path, _ = closed_segment(own, 7)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", _too_many)
            with pytest.raises(OSError, match="too many"):
                Shipper(own).ship()

        assert Shipper(own).ship() == 7
        assert not path.exists()

    @pytest.mark.parametrize("is_live", [True, False])
    def test_of_a_segment_that_somebody_deleted_the_events_are_counted(self, own, is_live):
        own.append(EVENT)
        Shipper(own).ship()
        own.append(EVENT)
        path = own.current
        if not is_live:
            own.close()
        path.unlink()

        for _ in range(2):
            Shipper(own).ship()

        assert spool.damaged(own.folder) == (1, 1)
        assert activity_reconcile(since=AN_HOUR_AGO, folder=own.folder).lost == 0
        own.append(EVENT)
        assert Shipper(own).ship() == 1

    def test_of_a_segment_with_a_name_of_its_own_everything_is_shipped(self, own, tmp_path):
        path, ids = closed_segment(own, 5)
        path.rename(own.folder / "from the other machine.seg")

        Shipper(own).ship()

        assert stored() == set(ids)

    def test_a_file_that_is_given_its_name_back_is_tried_again(self, own):
        path, ids = closed_segment(own, 3)
        content = path.read_bytes()
        path.write_bytes(content[:20] + b"\xff" + content[21:])
        Shipper(own).ship()
        (damaged_file,) = own.folder.glob("*.damaged")
        path.write_bytes(content)  # out of a backup, say
        damaged_file.unlink()

        Shipper(own).ship()

        assert stored() == set(ids)
        assert spool.damaged(own.folder) == (0, 0)
        assert activity_reconcile(since=AN_HOUR_AGO, folder=own.folder).set_aside == 0

    def test_a_damaged_checkpoint_costs_no_event(self, own):
        for content in (b"", b"\xff" * 5_000, bytes(4_160)):
            path, _ = closed_segment(own, 3)
            path.with_suffix(".checkpoint").write_bytes(content)
        (closed_segment(own, 3)[0].with_suffix(".checkpoint")).unlink()
        path, _ = closed_segment(own, 3)
        path.with_suffix(".checkpoint").unlink()
        path.with_suffix(".checkpoint").mkdir()
        shipped, _ = closed_segment(own, 3)
        other = shipped.with_suffix(".checkpoint").read_bytes()
        path, _ = closed_segment(own, 3)
        path.with_suffix(".checkpoint").write_bytes(other)

        Shipper(own).ship()

        assert len(stored()) == 21
        assert spool.damaged(own.folder) == (0, 0)

    def test_one_that_fails_for_an_unknown_reason_holds_up_no_other(self, own, monkeypatch):
        first, _ = closed_segment(own, 1)
        identity = own.append(EVENT).binary
        census = spool.Segment.census

        def fail(segment: spool.Segment, survey: spool.Survey) -> spool.Census:
            if segment.path == first:
                raise RuntimeError("a fault of ours")
            return census(segment, survey)

        monkeypatch.setattr(spool.Segment, "census", fail)

        with pytest.raises(RuntimeError, match="of ours"):
            Shipper(own).ship()

        assert identity in stored()


class TestEarlierRelease:
    """Segments have no checkpoint, and their header says up to where they were shipped."""

    def write(self, own: Spool, events: int) -> tuple[Path, list[bytes]]:
        path, ids = closed_segment(own, events)
        path.with_suffix(".checkpoint").unlink()
        with path.open("r+b") as file:
            file.write(struct.pack("<4sIQ", b"TRLS", 1, path.stat().st_size // 2))
        return path, ids

    def test_all_of_a_segment_is_shipped(self, own):
        path, ids = self.write(own, 20)

        Shipper(own).ship()

        assert stored() == set(ids)
        assert not path.exists()
        assert spool.damaged(own.folder) == (0, 0)

    def test_what_is_missing_in_the_middle_is_known_by_the_numbers(self, own):
        path, _ = self.write(own, 20)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + bytes(5) + content[len(content) // 2 + 5 :])

        Shipper(own).ship()

        assert len(stored()) == 19
        assert spool.damaged(own.folder) == (1, 1)

    def test_what_may_be_missing_at_the_end_is_told_by_its_size(self, own):
        path, _ = self.write(own, 20)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: size // 2] + bytes(size - size // 2))

        Shipper(own).ship()

        assert len(stored()) == 9
        assert spool.damaged(own.folder) == (1, 11)

    def test_what_waits_is_counted_once_and_not_read_each_time(self, own, monkeypatch):
        self.write(own, 20)
        spool.tidy(own.folder)
        monkeypatch.setattr(spool, "opened", None)

        assert spool.waiting(own.folder)[0] == 20


def _nested(depth: int) -> bytes:
    """An element of documents within documents, deeper than MongoDB takes them."""
    document = b"\x05\0\0\0\0"
    for _ in range(depth):
        document = struct.pack("<I", len(document) + 8) + b"\x03a\0" + document + b"\0"
    return b"\x03a\0" + document


class TestRefused:
    @pytest.mark.parametrize(
        "rest",
        [
            b"\x02text\0\xff\xff\xff\x7fabc\0",  # a string that is longer than the document
            b"\x99kind\0abc",  # a type that there is not
            b"\x03sub\0\x05\0\0\0\x01",  # a document without its end
            b"\x02text\0\x03\0\0\0\xff\xfe\0",  # text that is no UTF-8
            b"\x09at\0\xff\xff\xff\xff\xff\xff\xff\x7f",  # a year beyond 9999
            _nested(5_000),
        ],
    )
    def test_what_is_no_bson_holds_up_no_other(self, own, rest):
        ids = [own.append(EVENT).binary for _ in range(3)]
        own.append_elements(rest)
        ids += [own.append(EVENT).binary for _ in range(3)]
        path = own.current

        for _ in range(2):
            Shipper(own).ship()
        own.close()
        Shipper(own).ship()

        assert stored() == set(ids)
        assert not path.exists()
        assert spool.damaged(own.folder) == (1, 1)

    def test_what_mongodb_refuses_is_set_aside(self, own):
        database = ActivityEvent._get_db()
        database.command("collMod", "activity_logs", validator={"details.x": {"$exists": False}})
        try:
            own.append(EVENT)
            own.append(EVENT | {"details": {"x": 1}})
            assert Shipper(own).ship() == 1
            own.close()
            Shipper(own).ship()
        finally:
            database.command("collMod", "activity_logs", validator={})

        assert spool.damaged(own.folder) == (1, 1)
        account = activity_reconcile(since=AN_HOUR_AGO, folder=own.folder)
        assert (account.acknowledged, account.stored, account.set_aside) == (2, 1, 1)
        assert account.lost == 0

    @pytest.mark.parametrize("code", sorted(shipper._OF_THE_SERVER))
    def test_what_the_server_is_in_is_held_against_no_event(self, own, monkeypatch, code):
        ids = [own.append(EVENT).binary for _ in range(2)]
        errors = [{"index": 1, "code": code, "errmsg": "not now"}]

        def insert_many(documents: list, **options: object) -> None:
            raise BulkWriteError({"writeErrors": errors, "writeConcernErrors": []})

        with monkeypatch.context() as patch:
            collection = type("Collection", (), {"insert_many": staticmethod(insert_many)})
            patch.setattr(ActivityEvent, "_get_collection", lambda: collection)
            with pytest.raises(BulkWriteError):
                Shipper(own).ship()

        assert Shipper(own).ship() == 2
        assert stored() == set(ids)


class TestBound:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch) -> None:
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 2_000)

    def test_counts_damaged_files_which_go_before_events(self, tmp_path):
        own = Spool(tmp_path / "spool", max_bytes=100_000)
        for number in range(12):
            (own.folder / f"{number:013d}-ff00000000.3.damaged").write_bytes(bytes(8_000))

        ids = [own.append(EVENT).binary for _ in range(40)]

        assert sum(path.stat().st_size for path in own.folder.iterdir()) <= 104_000
        assert ledger.dropped(own.folder) == 0
        assert 0 < len(list(own.folder.glob("*.damaged"))) < 12
        assert len(ids) == spool.waiting(own.folder)[0]

    def test_what_cannot_be_opened_hinders_no_event(self, tmp_path):
        own = Spool(tmp_path / "spool", max_bytes=1)
        (own.folder / "folder.seg").mkdir()
        (own.folder / "folder.0.damaged").mkdir()

        own.append(EVENT)


class TestUnfinished:
    def test_what_a_process_died_over_goes_and_what_is_being_made_stays(self, own):
        old, young = own.folder / "old.new", own.folder / "young.new"
        for path in (old, young):
            path.touch()
        os.utime(old, (time.time() - 3_600,) * 2)

        Shipper(own).ship()

        assert not old.exists()
        assert young.exists()

    def test_nothing_is_left_once_everything_is_shipped(self, own):
        for _ in range(3):
            closed_segment(own, 2)

        Shipper(own).ship()

        assert [path.name for path in own.folder.iterdir()] == ["ledger.jsonl"]


def write_zeros(own: Spool, over: threading.Event) -> None:
    """Write over the live segment, near to its end, where it is just read and written."""
    chance = random.Random(7)
    while not over.wait(0.001):
        path = own.current
        if path is None:
            continue
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            written = len(path.read_bytes()[:-4].rstrip(b"\0"))
            file.seek(max(0, written - chance.randrange(3_000)))
            file.write(bytes(chance.randrange(200)))


class TestAtOnce:
    def test_the_books_balance_while_a_live_segment_is_damaged(self, own, monkeypatch):
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 50_000)
        over = threading.Event()
        shipper = Shipper(own)

        def ship() -> None:
            while not over.is_set():
                shipper.ship()

        threads = [
            threading.Thread(target=ship),
            threading.Thread(target=write_zeros, args=(own, over)),
        ]
        for thread in threads:
            thread.start()
        ids = [own.append(EVENT).binary for _ in range(2_000)]
        over.set()
        for thread in threads:
            thread.join()
        own.close()
        shipper.ship()

        set_aside = sum(entry.set_aside for entry in ledger.entries(own.folder).values())
        assert stored() <= set(ids)
        assert len(ids) == len(stored()) + set_aside


class TestThread:
    def test_is_started_again_after_an_error_that_nobody_expected(self, monkeypatch):
        at_exit = []
        monkeypatch.setattr(
            services, "Finalize", lambda of, finish, exitpriority: at_exit.append(finish)
        )
        failures = iter([RuntimeError("a fault of ours")])
        ship = Shipper.ship

        def fail_once(shipper: Shipper) -> int:
            for failure in failures:
                raise failure
            return ship(shipper)

        monkeypatch.setattr(Shipper, "ship", fail_once)
        identity = services.own_spool().append(EVENT).binary
        services.start_shipping()

        assert wait_until(lambda: stored() == {identity}, 30)

        assert "activity-shipper" in recent_failures()
        at_exit[0]()

    def test_ships_at_the_end_what_was_recorded_since_its_last_look(self, own):
        shipper = Shipper(own)
        shipper.stop()
        identity = own.append(EVENT).binary
        own.close()

        shipper.run()

        assert stored() == {identity}

    def test_trouble_with_the_disk_is_seen_and_tried_again(self, monkeypatch):
        own = services.own_spool()
        (own.folder / "ledger.jsonl").mkdir()
        path, ids = closed_segment(own, 2)
        shipper = Shipper(own)
        thread = threading.Thread(target=shipper.run)
        thread.start()
        try:
            assert wait_until(lambda: stored() == set(ids), 30)
            assert wait_until(lambda: "activity-shipper" in recent_failures(), 30)
            (own.folder / "ledger.jsonl").rmdir()
            assert wait_until(lambda: not path.exists(), 30)
        finally:
            shipper.stop()
            thread.join()


class TestTold:
    def test_a_ledger_that_cannot_be_read_is_told(self):
        folder = services.own_spool().folder
        (folder / "ledger.jsonl").mkdir()
        (folder / "dropped").touch()

        assert services.spool_problem() == "the spool cannot be read: Is a directory"
        with pytest.raises(CommandError, match="Is a directory"):
            call_command("activity_reconcile")

    def test_health_is_degraded_and_reconcile_has_a_line(self):
        own = services.own_spool()
        path, _ = closed_segment(own, 3)
        path.write_bytes(b"")
        Shipper(own).ship()
        out = StringIO()

        call_command("activity_reconcile", stdout=out)

        assert services.spool_problem() == (
            "3 acknowledged events may be in 1 damaged files set aside"
        )
        assert out.getvalue().splitlines()[1] == (
            "3 set aside: they could not be read, or MongoDB refused them; "
            f"3 acknowledged events may be in 1 damaged files in {own.folder}"
        )
        state = services.spool_state()
        assert (state["damaged_files"], state["damaged_events"]) == (1, 3)
        for path in own.folder.glob("*.damaged"):
            path.unlink()
        assert services.spool_problem() is None


def _too_many(*args: object) -> int:
    raise OSError(errno.EMFILE, "too many open files")
