"""The spool on a real disk: what is acknowledged outlives its process, and the bound is kept."""

import os
import signal
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import bson
import pytest

from activity import ledger, spool
from activity.spool import Spool
from config.stack import ROOT

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {"status": 200}}


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "spool"


def make(folder: Path, max_bytes: int = 64 * spool.SEGMENT_BYTES) -> Spool:
    return Spool(folder, max_bytes=max_bytes)


def read(path: Path) -> list[dict]:
    with spool.opened(path, adopt=False) as segment:
        return [bson.decode(document) for document, _ in segment.records()]


def everything(folder: Path) -> list[dict]:
    return [event for path in spool.segments(folder) for event in read(path)]


class TestAppend:
    def test_what_it_returned_is_on_disk_and_can_be_read(self, folder):
        own = make(folder)

        ids = [own.append(EVENT | {"user_id": f"user-{number}"}) for number in range(3)]

        found = everything(folder)
        assert [one["_id"] for one in found] == ids
        assert [one["user_id"] for one in found] == ["user-0", "user-1", "user-2"]
        written = found[0]["timestamp"].replace(tzinfo=UTC).timestamp()
        assert written == pytest.approx(ids[0].generation_time.timestamp(), abs=1.1)

    def test_an_id_says_which_segment_and_which_place_in_it(self, folder):
        own = make(folder)

        own.append(EVENT)
        second = own.append(EVENT)

        with spool.opened(own.current, adopt=False) as segment:
            assert second.binary[4:9].hex() == segment.name
        assert int.from_bytes(second.binary[9:], "big") == 1

    def test_a_full_segment_is_followed_by_another(self, folder, monkeypatch):
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 1_000)
        own = make(folder, max_bytes=10**9)

        ids = [own.append(EVENT) for _ in range(20)]

        assert len(spool.segments(folder)) > 1
        assert [one["_id"] for one in everything(folder)] == ids

    def test_what_bson_cannot_hold_leaves_no_trace(self, folder):
        own = make(folder)
        own.append(EVENT)

        with pytest.raises(bson.errors.InvalidDocument):
            own.append(EVENT | {"details": {"x": object()}})
        own.append(EVENT)

        assert len(everything(folder)) == 2

    def test_a_disk_that_takes_half_of_it_keeps_nothing_of_it(self, folder, monkeypatch):
        own = make(folder)
        own.append(EVENT)
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
            with pytest.raises(OSError, match="full"):
                own.append(EVENT)

        own.append(EVENT)

        assert len(everything(folder)) == 2

    def test_a_disk_that_takes_no_new_segment_leaves_none_behind(self, folder, monkeypatch):
        own = make(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: 0)
            with pytest.raises(OSError, match="full"):
                own.append(EVENT)
        assert list(folder.iterdir()) == []

        own.append(EVENT)

        assert len(everything(folder)) == 1

    def test_the_files_are_nobody_else_s_to_read(self, folder):
        own = make(folder)
        own.append(EVENT)

        assert folder.stat().st_mode & 0o777 == 0o700
        assert own.current.stat().st_mode & 0o777 == 0o600


class TestKill:
    def test_what_a_process_acknowledged_before_it_was_killed_is_there(self, folder):
        """The process prints each id as soon as it has it; whatever was printed must be found."""
        code = (
            "import os, sys; from pathlib import Path; from activity.spool import Spool\n"
            "own = Spool(Path(sys.argv[1]), max_bytes=10**9)\n"
            f"while True: os.write(1, own.append({EVENT!r}).binary)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
        )
        acknowledged = child.stdout.read(12 * 3_000)
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.read()
        child.wait()
        child.stdout.close()

        ids = [acknowledged[at : at + 12] for at in range(0, len(acknowledged) // 12 * 12, 12)]
        found = [one["_id"].binary for one in everything(folder)]
        assert len(ids) >= 3_000
        assert found[: len(ids)] == ids
        assert len(found) - len(ids) <= 1  # written, and killed before it was told

    def test_its_segment_may_be_adopted_only_then(self, folder):
        own = make(folder)
        own.append(EVENT)
        path = own.current

        with spool.opened(path, adopt=True) as segment:
            assert segment is None
        own.close()  # as the kernel does
        with spool.opened(path, adopt=True) as segment:
            assert segment is not None


class TestRecords:
    def test_end_before_what_was_cut_off(self, folder):
        own = make(folder)
        for _ in range(3):
            own.append(EVENT)
        path = own.current
        own.close()
        with path.open("ab") as file:
            file.truncate(path.stat().st_size - 5)

        assert len(read(path)) == 2

    def test_end_before_what_is_damaged(self, folder):
        own = make(folder)
        for _ in range(3):
            own.append(EVENT)
        path = own.current
        held = bytearray(path.read_bytes())
        held[len(held) // 2] ^= 1
        path.write_bytes(held)

        assert len(read(path)) == 1

    @pytest.mark.parametrize("size", [0, 5, 16, 20])
    def test_of_a_file_that_is_hardly_there_are_none(self, folder, size):
        make(folder)
        path = folder / "0000000000001-0123456789.seg"
        path.write_bytes(b"x" * size)

        assert read(path) == []


class TestBound:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch) -> None:
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 2_000)

    def test_the_oldest_go_first_and_are_counted(self, folder):
        own = make(folder, max_bytes=10_000)

        ids = [own.append(EVENT) for _ in range(200)]

        kept = [one["_id"] for one in everything(folder)]
        assert sum(path.stat().st_size for path in folder.glob("*.seg")) <= 12_000
        assert kept == ids[-len(kept) :]
        assert ledger.dropped(folder) == 200 - len(kept)
        assert ledger.last_dropped_at(folder) > 0

    def test_what_was_shipped_already_is_not_counted_as_dropped(self, folder):
        own = make(folder, max_bytes=10_000)
        own.append(EVENT)
        path = own.current
        own.close()
        with spool.opened(path, adopt=True) as segment:
            segment.set_shipped_to(path.stat().st_size)

        for _ in range(100):
            own.append(EVENT)

        assert not path.exists()
        assert ledger.dropped(folder) == 101 - 1 - len(everything(folder))


class TestWaiting:
    def test_counts_what_was_not_shipped(self, folder):
        own = make(folder)
        assert spool.waiting(folder) == (0, 0, 0.0)
        for _ in range(5):
            own.append(EVENT)
        with spool.opened(own.current, adopt=False) as segment:
            _, end = next(segment.records())
            segment.set_shipped_to(end)

        events, size, age = spool.waiting(folder)

        assert events == 4
        assert size == own.current.stat().st_size - end
        assert 0 <= age < 5


class TestLedger:
    def test_has_one_entry_for_a_segment_that_was_deleted_twice(self, folder):
        make(folder)
        ledger.add(folder, "aa", [60, 61, 120], 0)
        ledger.add(folder, "aa", [60, 61, 120], 0)

        entries = ledger.entries(folder)

        assert entries["aa"].minutes == {1: 2, 2: 1}
        assert entries["aa"].since(2) == 1

    def test_survives_a_line_that_was_cut_off(self, folder):
        make(folder)
        ledger.add(folder, "aa", [60], 0)
        with (folder / "ledger.jsonl").open("a") as file:
            file.write('{"segment": "b\n')
        ledger.add(folder, "cc", [60], 0)

        assert set(ledger.entries(folder)) == {"aa", "cc"}

    def test_forgets_the_older_half_once_it_is_long(self, folder, monkeypatch):
        monkeypatch.setattr(ledger, "_MAX_BYTES", 1_000)
        make(folder)

        for number in range(60):
            ledger.add(folder, f"{number:02}", [60], 0)

        names = sorted(ledger.entries(folder))
        assert names[-1] == "59"
        assert 0 < len(names) < 30
