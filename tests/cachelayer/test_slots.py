"""The file of slots: made once, shared, refused where it is something else, mapped anew where it is another."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from cachelayer import slots
from cachelayer.slots import ForeignFile

TAG = "note:5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"
LENGTHS = [0, 3 * 4_096, 8 * slots.SLOTS, 8 * slots.LISTENING]  # the last two: all slots stay


@pytest.fixture
def file(settings) -> Path:
    slots.attach()
    return slots.path()


class TestAttach:
    def test_makes_a_file_that_is_nobody_elses(self, file):
        assert slots.mapped()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert [entry.name for entry in file.parent.iterdir()] == [file.name]

    def test_all_who_map_it_see_what_one_overwrites(self, file):
        other, _ = slots.opened(file)
        before = other[slots.slot_of(TAG)]

        slots.overwrite([TAG])

        assert other[slots.slot_of(TAG)] != before

    def test_of_many_who_come_at_once_all_have_the_same(self, tmp_path):
        path, identities = tmp_path / "new" / "x.slots", []

        def come() -> None:
            table, inode = slots.opened(path)
            identities.append((table[slots.HOST], inode))

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(identities) == 8
        assert len(set(identities)) == 1

    def test_of_two_threads_that_map_other_files_the_words_are_of_the_inode(
        self, file, monkeypatch
    ):
        """The first has opened a file that is another by now, and ends after the second has begun."""
        slots.detach()
        opened, first, second = slots.opened, threading.Event(), threading.Event()

        def open_slowly(path):
            found = opened(path)
            if not first.is_set():
                first.set()
                second.wait(0.5)  # in vain, where one thread at a time maps a file
            return found

        monkeypatch.setattr(slots, "opened", open_slowly)
        thread = threading.Thread(target=slots.attach)
        thread.start()
        assert first.wait(30)
        file.unlink()
        slots.attach()
        second.set()
        thread.join()
        slots.attach()

        assert slots.words[slots.HOST] == opened(file)[0][slots.HOST]

    def test_a_file_made_anew_is_mapped_at_the_next_write(self, file):
        before = slots.words[slots.HOST]
        file.unlink()
        slots.overwrite([TAG])

        assert slots.words[slots.HOST] != before

    def test_a_copy_of_a_file_is_another_host(self, file, tmp_path):
        shutil.copy(file, tmp_path / "copy.slots")
        table, _ = slots.opened(tmp_path / "copy.slots")

        assert table[slots.HOST] != slots.words[slots.HOST]

    def test_one_from_before_the_machines_last_start_is_made_anew(self, file, monkeypatch):
        before = slots.words[slots.HOST]
        slots.words[slots.LISTENING] = slots.clock() + 3600 * 10**9
        slots.detach()
        monkeypatch.setattr(slots, "_identity", lambda inode: inode)
        slots.attach()

        assert slots.words[slots.HOST] != before
        assert slots.words[slots.LISTENING] == 0

    @pytest.mark.parametrize("content", [b"", b"something else", bytes(slots.WORDS * 8)])
    def test_something_else_is_left_alone(self, file, content):
        slots.detach()
        file.write_bytes(content)
        with pytest.raises(ForeignFile, match="no file of slots"):
            slots.opened(file)
        slots.attach()

        assert not slots.mapped()
        assert file.read_bytes() == content
        slots.overwrite([TAG])  # which is then for the listener to tell

    def test_once_it_is_moved_away_the_level_has_a_file_again(self, file):
        slots.detach()
        file.write_bytes(b"something else")
        slots.attach()
        file.unlink()
        slots.attach()

        assert slots.mapped()

    @pytest.mark.parametrize("length", LENGTHS)
    def test_of_a_file_that_is_cut_off_nothing_is_used(self, file, length):
        host = slots.words[slots.HOST]
        slots.words[slots.LISTENING] = slots.clock() + 3600 * 10**9
        os.truncate(file, length)

        assert slots.words[slots.LISTENING] == 0
        assert slots.words[slots.HOST] != host  # so writers wait as for another host
        slots.overwrite([TAG])
        assert not slots.mapped()
        assert file.stat().st_size == length

    def test_one_that_is_cut_off_while_it_is_mapped_is_not_used(self, file, monkeypatch):
        def cut_off(descriptor, size):
            raise ValueError("mmap length is greater than file size")

        slots.detach()
        with monkeypatch.context() as patch:
            patch.setattr(slots, "MappedFile", cut_off)
            slots.attach()
            assert slots.words is None

        slots.attach()
        assert slots.words is not None

    def test_one_that_is_cut_off_and_made_longer_again_is_not_used_either(self, file):
        os.truncate(file, 0)
        os.truncate(file, slots.WORDS * 8)
        slots.attach()

        assert not slots.mapped()

    def test_a_folder_that_cannot_be_made_is_no_error(self, settings, tmp_path):
        (tmp_path / "file").write_text("")
        settings.CACHELAYER = settings.CACHELAYER | {"SLOTS_DIR": str(tmp_path / "file" / "slots")}
        slots.attach()

        assert not slots.mapped()

    def test_sites_with_other_keys_have_other_files(self, file, settings):
        settings.CACHELAYER = settings.CACHELAYER | {"PREFIX": "another"}
        slots.attach()

        assert slots.path() != file
        assert slots.mapped()


class TestSlots:
    def test_are_the_same_in_each_process(self):
        assert slots.slot_of("note:1") == 0xFF5F

    def test_are_spread(self):
        assert len({slots.slot_of(f"note:{number}") for number in range(1_000)}) > 950
