"""What only Linux has stays behind a guard: each use of it is listed here with what other systems do."""

import ast
import errno
import mmap
import os
import re
import sys

import pytest

from cachelayer import slots
from cachelayer.mapped_file import MappedFile, reserve
from config.stack import ROOT
from tests.test_house_rules import MODULES, named

LINUX_ONLY = re.compile(
    r"CLOCK_BOOTTIME|\bsched_\w+|\bprctl\b|posix_fallocate|fdatasync|/proc/|/sys/|/dev/shm|epoll|pidfd|signalfd|"
    r"inotify|memfd|SO_REUSEPORT|SO_PEERCRED|TCP_KEEPIDLE|TCP_USER_TIMEOUT|MADV_|O_TMPFILE|O_DIRECT\b|\bpty\b|"
    r"^\\0.*-cpu-|freedesktop_os_release"
)
ELSEWHERE = {
    "cachelayer/host_clock.py": "another clock",
    "cachelayer/listener.py": "not pinned",
    "cachelayer/mapped_file.py": "an ordinary mapping; zeros are written to reserve space",
    "cachelayer/slots.py": "no first level, so no identity of the last start",
    "config/stack/process.py": "processes are not bound to their parent",
    "config/web/cpu_pinning.py": "not pinned",
    "loadtests/bench/costs.py": "fsync",
    "loadtests/testbed/environment.py": "all processors; no name of the processor or the distribution",
}


def uses(path) -> set[str]:
    """Return the names, attributes and texts of a module, docstrings aside, that only Linux has."""
    tree = ast.parse(path.read_text())
    prose = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    }
    words = {
        getattr(node, name)
        for node in ast.walk(tree)
        for name in ("id", "attr", "value", "name")
        if node not in prose and isinstance(getattr(node, name, None), str)
    }
    return {word for word in words if LINUX_ONLY.search(word)}


def test_each_use_is_known():
    assert {named(path) for path in MODULES if uses(path)} == set(ELSEWHERE)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_has_a_guard(name):
    assert re.search(
        r"sys\.platform [!=]= \"linux\"|hasattr\(os|getattr\(os", (ROOT / name).read_text()
    )


class TestElsewhere:
    """The guards; the systems themselves are not here."""

    @pytest.fixture(autouse=True)
    def darwin(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")

    def test_there_is_no_first_level(self, tmp_path):
        with pytest.raises(OSError, match="only Linux has a first level") as raised:
            slots.opened(tmp_path / "new.slots")

        assert raised.value.errno == errno.ENOTSUP
        assert not list(tmp_path.iterdir())

    def test_a_file_is_mapped_without_the_structures_of_linux(self, tmp_path, monkeypatch):
        monkeypatch.setattr("cachelayer.mapped_file._survive_lost_pages", None)
        monkeypatch.setattr("cachelayer.mapped_file._yielding_libc", None)
        monkeypatch.delattr(os, "posix_fallocate")
        with (tmp_path / "file").open("w+b") as file:
            reserve(file.fileno(), mmap.PAGESIZE)
            with MappedFile(file.fileno(), mmap.PAGESIZE) as mapped:
                mapped[:3] = b"abc"
            assert (tmp_path / "file").read_bytes() == b"abc".ljust(mmap.PAGESIZE, b"\0")
