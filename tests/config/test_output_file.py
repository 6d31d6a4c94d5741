"""Files that a command writes at its end."""

import os
import stat
from pathlib import Path

import pytest

from config import output_file
from config.output_file import Unwritable


class TestRefuseUnwritable:
    def test_accepts_what_can_be_written_and_leaves_nothing(self, tmp_path):
        output_file.refuse_unwritable(tmp_path / "report")

        assert list(tmp_path.iterdir()) == []

    def test_refuses_a_folder(self, tmp_path):
        with pytest.raises(Unwritable) as refused:
            output_file.refuse_unwritable(tmp_path)

        assert str(refused.value) == f"{tmp_path}: Is a directory"

    def test_refuses_what_is_in_no_folder(self, tmp_path):
        path = tmp_path / "none" / "report"

        with pytest.raises(Unwritable) as refused:
            output_file.refuse_unwritable(path)

        assert str(refused.value) == f"{path}: No such file or directory"

    def test_refuses_where_no_file_can_be_created(self):
        with pytest.raises(Unwritable, match=r"^/proc/report: "):  # nobody can, not even root
            output_file.refuse_unwritable(Path("/proc/report"))

    def test_accepts_a_device(self):
        output_file.refuse_unwritable(Path(os.devnull))


class TestRefuseUnwritableFolder:
    def test_creates_it(self, tmp_path):
        output_file.refuse_unwritable_folder(tmp_path / "a" / "b")

        assert list((tmp_path / "a" / "b").iterdir()) == []

    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_refuses_a_file(self, tmp_path, place):
        (tmp_path / "file").touch()

        with pytest.raises(Unwritable, match=rf"^{tmp_path / place}: "):
            output_file.refuse_unwritable_folder(tmp_path / place)


class TestWrite:
    def test_replaces_the_file_that_a_link_leads_to(self, tmp_path):
        (tmp_path / "report").write_text("old")
        (tmp_path / "link").symlink_to("report")

        output_file.write(tmp_path / "link", "new ü")

        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "report").read_text(encoding="utf-8") == "new ü"

    def test_a_failure_leaves_the_old_file_alone(self, tmp_path, monkeypatch):
        path = tmp_path / "report"
        path.write_text("old")

        def full(self, text, **options):
            with self.open("w") as file:
                file.write(text[:1])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(Unwritable) as failed:
            output_file.write(path, "new")

        assert str(failed.value) == f"{path}: No space left on device"
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_gives_the_file_its_mode(self, tmp_path):
        output_file.write(tmp_path / "key", "secret", mode=0o600)

        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600

    def test_writes_into_a_pipe_and_leaves_it_there(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

        output_file.write(pipe, "text")

        assert os.read(reader, 10) == b"text"
        os.close(reader)
        assert pipe.is_fifo()
