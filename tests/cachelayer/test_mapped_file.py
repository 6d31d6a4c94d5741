"""A mapped file: what is stored is in the file, and a file that is cut off ends no process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cachelayer.mapped_file import MappedFile
from config.stack import ROOT

SIZE = 4 * 4_096


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    return tmp_path / "file"


@pytest.fixture
def descriptor(path):
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_what_is_stored_is_in_the_file(path, descriptor):
    mapped = MappedFile(descriptor, SIZE)

    mapped[5_000:5_003] = b"abc"

    assert path.read_bytes()[5_000:5_003] == b"abc"
    assert not mapped.is_lost
    mapped.close()
    assert path.read_bytes()[5_000:5_003] == b"abc"


@pytest.mark.parametrize("start", [0, 4_090, SIZE - 10])
def test_a_store_beyond_the_end_of_the_file_is_noticed(path, descriptor, start):
    mapped = MappedFile(descriptor, SIZE)
    other = MappedFile(descriptor, SIZE)
    mapped[:3] = b"abc"
    os.truncate(path, 0)

    mapped[start : start + 10] = bytes(10)

    assert mapped.is_lost
    assert not other.is_lost
    mapped[:] = bytes(SIZE)
    mapped.close()
    other.close()
    assert path.read_bytes() == b""


def test_any_other_bad_access_ends_the_process_as_ever(path):
    code = (
        "import mmap, os, sys; from cachelayer.mapped_file import MappedFile\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "mapped, other = MappedFile(file.fileno(), 4096), mmap.mmap(file.fileno(), 4096)\n"
        "os.truncate(sys.argv[1], 0); other[0] = 1"
    )

    child = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)

    assert child.returncode == -signal.SIGBUS
