"""The spool on a real disk: what is acknowledged outlives its process, and the bound is kept."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC
from functools import partial
from pathlib import Path

import bson
import pytest

from activity import ledger, spool
from activity.checkpoint import Acknowledged
from activity.spool import Spool
from config.stack import ROOT
from config.stack.process import wait_until

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {"status": 200}}


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "spool"


def make(folder: Path, max_bytes: int = 64 * spool.SEGMENT_BYTES) -> Spool:
    return Spool(folder, max_bytes=max_bytes)


def read(path: Path) -> list[dict]:
    with spool.opened(path, adopt=False) as segment:
        return [bson.decode(record.document) for record in segment.records()]


def segment_records(path: Path) -> list[spool.Record]:
    with spool.opened(path, adopt=False) as segment:
        return list(segment.records())


def everything(folder: Path) -> list[dict]:
    return [event for path in spool.segments(folder) for event in read(path)]


def censuses(folder: Path) -> list[spool.Census]:
    """Of the segments that no process has."""
    opened = []
    for path in spool.segments(folder):
        with spool.opened(path, adopt=True) as segment:
            opened += [segment.census()] if segment else []
    return opened


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run it in a process of its own, which may die of it."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt


class TestAppend:
    def test_what_it_returned_is_on_disk_and_can_be_read(self, folder):
        own = make(folder)

        ids = [own.append(EVENT | {"user_id": f"user-{number}"}) for number in range(3)]

        events = everything(folder)
        assert [event["_id"] for event in events] == ids
        assert [event["user_id"] for event in events] == ["user-0", "user-1", "user-2"]
        written = events[0]["timestamp"].replace(tzinfo=UTC).timestamp()
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
        assert [event["_id"] for event in everything(folder)] == ids

    def test_what_bson_cannot_hold_leaves_no_trace(self, folder):
        own = make(folder)
        own.append(EVENT)

        with pytest.raises(bson.errors.InvalidDocument):
            own.append(EVENT | {"details": {"x": object()}})
        own.append(EVENT)

        assert len(everything(folder)) == 2

    def test_what_follows_half_a_record_is_kept(self, folder, monkeypatch):
        """Something ends the append in the middle, and the process goes on."""
        own = make(folder)
        ids = [own.append(EVENT)]
        with monkeypatch.context() as patch:
            patch.setattr(spool.zlib, "crc32", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                own.append(EVENT)

        ids += [own.append(EVENT) for _ in range(5)]

        assert [row["_id"] for row in everything(folder)] == ids
        assert [[*census.missing, census.unreadable_bytes] for census in censuses(folder)] == [[0]]

    def test_makes_no_system_call_that_writes_or_reads(self, folder):
        """In a process of its own, whose other threads would be counted as well."""
        code = (
            "import sys; from pathlib import Path; from activity.spool import Spool\n"
            "def calls(): return sum(int(line.split()[1]) for line in open('/proc/self/io')"
            " if line.startswith('sysc'))\n"
            "own = Spool(Path(sys.argv[1]), max_bytes=10**9)\n"
            f"own.append({EVENT!r}); before = calls(); of_counting = calls() - before\n"
            f"for _ in range(1_000): own.append({EVENT!r})\n"
            "print(calls() - before - 2 * of_counting)"
        )

        child = run_python(code, folder)

        assert child.stdout == "0\n", child.stderr
        assert len(everything(folder)) == 1_001

    def test_an_exception_after_the_write_gives_no_id_twice(self, folder, monkeypatch):
        own = make(folder)
        own.append(EVENT)
        with monkeypatch.context() as patch:
            patch.setattr(Acknowledged, "write", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                own.append(EVENT)

        own.append(EVENT)

        assert len({row["_id"] for row in everything(folder)}) == 3

    def test_an_event_larger_than_a_reader_believes_is_refused(self, folder):
        own = make(folder)

        with pytest.raises(ValueError, match="1048576 at most"):
            own.append(EVENT | {"details": {"text": "x" * 1_048_577}})
        own.append(EVENT)

        assert len(everything(folder)) == 1

    @pytest.mark.parametrize("call", ["posix_fallocate", "rename", "pwrite"])
    def test_a_disk_that_takes_no_new_segment_leaves_none_behind(self, folder, monkeypatch, call):
        def refuse(*args: object) -> None:
            raise OSError(errno.ENOSPC, "the disk is full")

        own = make(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            patch.setattr(Path, call, refuse, raising=False)
            with pytest.raises(OSError, match="full"):
                own.append(EVENT)
        assert list(folder.iterdir()) == []

        own.append(EVENT)

        assert len(everything(folder)) == 1

    def test_a_file_system_that_ends_within_a_segment_is_an_error_and_no_signal(self, folder):
        code = (
            "import resource, sys; from pathlib import Path; from activity.spool import Spool\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
            "own = Spool(Path(sys.argv[1]), max_bytes=10**9)\n"
            f"try: own.append({EVENT!r})\n"
            "except OSError as exc: print(exc.strerror, list(own.folder.iterdir()))"
        )

        child = run_python(code, folder)

        assert child.stdout == "File too large []\n", child.stderr

    def test_a_segment_has_its_space_at_once_and_gives_back_what_is_left(self, folder):
        own = make(folder)
        own.append(EVENT)
        path = own.current
        assert path.stat().st_size == spool.SEGMENT_BYTES
        assert path.stat().st_blocks * 512 >= spool.SEGMENT_BYTES

        own.close()

        assert path.stat().st_size == segment_records(path)[-1].end

    def test_an_event_may_be_as_large_as_a_reader_believes(self, folder):
        own = make(folder)
        own.append(EVENT)
        largest = b"\x05x\0" + (1_048_576 - 41 - 8).to_bytes(4, "little") + b"\0"
        own.append_elements(largest.ljust(1_048_576 - 41, b"x"))
        own.append(EVENT)
        own.close()

        assert len(everything(folder)) == 3
        assert sum(path.stat().st_size for path in spool.segments(folder)) < 1_050_000
        assert all(not (census.missing or census.unreadable_bytes) for census in censuses(folder))

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
        events = [event["_id"].binary for event in everything(folder)]
        assert len(ids) >= 3_000
        assert events[: len(ids)] == ids
        assert len(events) - len(ids) <= 1  # written, and killed before append returned

    def test_between_any_two_bytes_it_costs_the_event_that_was_not_acknowledged(self, folder):
        """Each state of the files that there is while an event is appended."""
        own = make(folder)
        for _ in range(3):
            own.append(EVENT)
        path = own.current
        count = path.with_suffix(".checkpoint")
        before, counted_before = path.read_bytes(), count.read_bytes()
        start = segment_records(path)[-1].end
        own.append(EVENT)
        after, counted_after = path.read_bytes(), count.read_bytes()
        end = segment_records(path)[-1].end
        own.close()

        copied = [
            (before[: start + 4] + after[start + 4 : at] + before[at:], counted_before)
            for at in range(start + 4, end + 1)
        ]
        finished = [
            (
                before[:start] + after[start:at] + bytes(start + 4 - at) + after[start + 4 :],
                counted_before,
            )
            for at in range(start, start + 5)
        ]
        counted = [(after, counted_after[:at] + counted_before[at:]) for at in range(17)]
        for content, counted_events in copied + finished + counted:
            path.write_bytes(content)
            count.write_bytes(counted_events)
            with spool.opened(path, adopt=True) as segment:
                census = segment.census()
                ids = {record.document[9:21] for record in segment.records()}
            assert len(census.waiting) == len(ids) == (4 if content == after else 3)
            assert (census.missing, census.unreadable_bytes) == ([], 0)

    def test_in_the_middle_of_appends_it_costs_no_event(self, folder):
        """Between acknowledgements there is no system call, so it is killed anywhere in an append."""
        folder.mkdir()
        code = (
            "import mmap, sys; from pathlib import Path; from activity.spool import Spool\n"
            "own = Spool(Path(sys.argv[1]), max_bytes=10**9)\n"
            "file = open(sys.argv[2], 'r+b'); acknowledged = mmap.mmap(file.fileno(), 8)\n"
            "number = 0\n"
            "while True:\n"
            f"    own.append({EVENT!r} | {{'user_id': str(number)}}); number += 1\n"
            "    acknowledged[:] = number.to_bytes(8, 'little')"
        )
        counter = folder.parent / "acknowledged"

        def acknowledged() -> int:
            return int.from_bytes(counter.read_bytes(), "little")

        for at_least in (1, 500, 5_000, 9_000):
            counter.write_bytes(bytes(8))
            child = subprocess.Popen(
                [sys.executable, "-c", code, str(folder), str(counter)], cwd=ROOT
            )
            try:
                assert wait_until(partial(lambda least: acknowledged() >= least, at_least), 30)
            finally:
                child.send_signal(signal.SIGKILL)
                child.wait()

            users = [int(row["user_id"]) for row in everything(folder)]
            assert users == list(range(len(users)))
            assert acknowledged() <= len(users) <= acknowledged() + 1
            for census in censuses(folder):
                assert (census.missing, census.unreadable_bytes) == ([], 0)
            for path in folder.iterdir():
                path.unlink()

    def test_its_segment_may_be_adopted_only_then(self, folder):
        own = make(folder)
        own.append(EVENT)
        path = own.current

        with spool.opened(path, adopt=True) as segment:
            assert segment is None
        own.close()  # as the kernel does
        with spool.opened(path, adopt=True) as segment:
            assert segment is not None


class TestFork:
    def test_a_child_has_a_segment_of_its_own(self, folder):
        own = make(folder)
        first = own.append(EVENT)
        path = own.current
        child = os.fork()
        if child == 0:
            identity = b""
            with contextlib.suppress(BaseException):
                identity = own.append(EVENT).binary
            os._exit(0 if identity and identity[4:9] != first.binary[4:9] else 1)
        assert os.waitpid(child, 0)[1] == 0

        second = own.append(EVENT)

        assert own.current == path
        assert len({row["_id"] for row in everything(folder)}) == 3
        assert [row["_id"] for row in read(path)] == [first, second]
        with spool.opened(path, adopt=True) as segment:
            assert segment is None
        own.close()
        with spool.opened(path, adopt=True) as segment:
            assert segment is not None


class TestRecords:
    @pytest.fixture
    def path(self, folder) -> Path:
        """A closed segment of 5 events."""
        own = make(folder)
        for number in range(5):
            own.append(EVENT | {"user_id": f"user-{number}"})
        path = own.current
        own.close()
        return path

    def users(self, path: Path) -> list[str]:
        return [row["user_id"] for row in read(path)]

    def test_end_before_what_was_cut_off(self, path):
        os.truncate(path, path.stat().st_size - 5)

        assert self.users(path) == ["user-0", "user-1", "user-2", "user-3"]

    def test_go_on_after_one_that_is_damaged(self, path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

        assert self.users(path) == ["user-0", "user-1", "user-3", "user-4"]

    def test_go_on_after_zeros_and_garbage(self, path):
        content = path.read_bytes()
        start = [record.start for record in segment_records(path)][2]
        path.write_bytes(
            content[:start] + bytes(3_000) + b"\xff" * 99 + content[start:] + bytes(500)
        )

        assert self.users(path) == [f"user-{number}" for number in range(5)]

    def test_do_not_depend_on_the_header(self, path):
        path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])

        assert len(self.users(path)) == 5

    def test_are_found_across_blocks(self, folder):
        """A file is read in blocks of 2 MiB; records lie on each of their borders."""
        own = make(folder)
        own.append(EVENT)
        path = own.current
        ids = [own.append(EVENT)]
        content = path.read_bytes()
        record = content[list(segment_records(path))[1].start :]
        with path.open("ab") as file:
            file.write(record * (5_000_000 // len(record)) + b"\xff" * 3_000_000)
        ids.append(own.append(EVENT))

        rows = read(path)

        assert len(rows) == 3 + 5_000_000 // len(record)
        assert {row["_id"] for row in rows[1:]} == set(ids)

    def test_a_length_beyond_the_file_hides_nothing(self, path):
        content = bytearray(path.read_bytes())
        second = list(segment_records(path))[1].start
        content[second + 4 : second + 8] = (100_000).to_bytes(4, "little")
        path.write_bytes(content)

        assert self.users(path) == ["user-0", "user-2", "user-3", "user-4"]

    def test_no_text_of_an_event_can_pass_for_one(self, folder):
        for _ in range(200):
            assert not {0xC0, 0xC1, *range(0xF5, 0x100)}.isdisjoint(spool._identity())

    def test_of_a_bad_block_the_rest_is_read(self, path, monkeypatch):
        content = path.read_bytes()
        path.write_bytes(content[:16] + bytes(8_192) + content[16:])
        pread = os.pread

        def failing(descriptor: int, size: int, offset: int) -> bytes:
            if offset < 4_096 and os.fstat(descriptor).st_size == path.stat().st_size:
                raise OSError(errno.EIO, "a bad block")
            return pread(descriptor, size, offset)

        monkeypatch.setattr(os, "pread", failing)

        assert len(self.users(path)) == 5

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

        remaining = [event["_id"] for event in everything(folder)]
        assert sum(path.stat().st_size for path in folder.glob("*.seg")) <= 12_000
        assert remaining == ids[-len(remaining) :]
        assert ledger.dropped(folder) == 200 - len(remaining)
        assert ledger.last_dropped_at(folder) > 0

    def test_what_was_shipped_already_is_not_counted_as_dropped(self, folder):
        own = make(folder, max_bytes=10_000)
        own.append(EVENT)
        path = own.current
        own.close()
        with spool.opened(path, adopt=True) as segment:
            segment.checkpoint.save([0], offset=path.stat().st_size, known=1)

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
            first = next(segment.records())
            segment.checkpoint.save([0], offset=first.end, known=1)

        events, size, age = spool.waiting(folder)

        assert events == 4
        assert size == segment_records(own.current)[-1].end - first.end
        assert 0 <= age < 5

    def test_reads_a_hundred_bytes_of_each_segment(self, folder, monkeypatch):
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 20_000)
        own = make(folder, max_bytes=10**9)
        for _ in range(2_000):
            own.append(EVENT)
        sizes: list[int] = []
        pread = os.pread

        def counted(descriptor: int, size: int, offset: int) -> bytes:
            content = pread(descriptor, size, offset)
            sizes.append(len(content))
            return content

        monkeypatch.setattr(os, "pread", counted)

        assert spool.waiting(folder)[0] == 2_000
        assert sum(sizes) <= 100 * len(spool.segments(folder)) < 2_000


class TestUnreadable:
    """A folder that this account may not list is not an empty one."""

    @pytest.mark.parametrize(
        "read",
        [
            spool.segments,
            spool.waiting,
            spool.damaged,
            spool.tidy,
            partial(spool.make_room, max_bytes=1),
        ],
    )
    def test_raises(self, folder, monkeypatch, read):
        make(folder)

        def refuse(path: object) -> None:
            raise PermissionError(errno.EACCES, "not allowed", str(path))

        monkeypatch.setattr(os, "scandir", refuse)

        with pytest.raises(PermissionError, match="not allowed"):
            read(folder)

    def test_a_segment_that_may_not_be_read_may_hold_events(self, forbidden_segment):
        with pytest.raises(spool.Unreadable, match="not allowed"):
            spool.waiting(forbidden_segment.parent)


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

    def test_is_whole_where_the_process_dies_while_it_is_halved(self, folder, monkeypatch):
        monkeypatch.setattr(ledger, "_MAX_BYTES", 1_000)
        make(folder)
        while (folder / "ledger.jsonl").exists() is False or size(folder) <= 1_000:
            ledger.add(folder, f"{len(ledger.entries(folder)):02}", [60], 0)
        before = ledger.entries(folder)

        def die(*args: object) -> None:
            raise KeyboardInterrupt

        for name in ("write", "fsync"):
            with monkeypatch.context() as patch:
                patch.setattr(ledger.os, name, die)
                with pytest.raises(KeyboardInterrupt):
                    ledger.add(folder, "last", [60], 0)
            assert ledger.entries(folder) == before

        ledger.add(folder, "last", [60], 0)

        assert "last" in ledger.entries(folder)
        assert size(folder) <= 1_000
        assert not list(folder.glob("*.new"))

    def test_an_appender_that_has_waited_for_a_replaced_one_opens_the_new(self, folder):
        make(folder)
        ledger.add(folder, "old", [60], 0)
        path = folder / "ledger.jsonl"
        with ledger._locked(path):
            thread = threading.Thread(target=ledger.add, args=(folder, "new", [60], 0))
            thread.start()
            assert wait_until(lambda: _waits_for_lock(path), 30)
            ledger._replace(path, path.read_bytes())
        thread.join()

        assert set(ledger.entries(folder)) == {"old", "new"}

    def test_a_line_that_a_full_disk_has_cut_off_costs_no_other(self, folder):
        make(folder)
        ledger.add(folder, "aa", [60], 0)
        path = folder / "ledger.jsonl"
        with path.open("ab") as file:
            file.write(b'{"segment": "b')
        ledger.add(folder, "cc", [60], 0)

        assert set(ledger.entries(folder)) == {"aa", "cc"}


def size(folder: Path) -> int:
    return (folder / "ledger.jsonl").stat().st_size


def _waits_for_lock(path: Path) -> bool:
    """Return whether /proc/locks shows somebody waiting for the lock of the file."""
    inode = f":{path.stat().st_ino} "
    return any(
        "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
    )
