"""Each process of a site claims a CPU of its own, for as long as it lives."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from config.web.cpu_pinning import pin_to_free_cpu

_CLAIM = """
import os, sys
from config.web.cpu_pinning import pin_to_free_cpu
print(pin_to_free_cpu(sys.argv[1]), *sorted(os.sched_getaffinity(0)), flush=True)
sys.stdin.read()
"""
CPUS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []

Worker = tuple[subprocess.Popen[str], list[str]]


@pytest.fixture
def start() -> Iterator[Callable[[], Worker]]:
    """Start a process of the same site; return it, what it claimed, and where it may run."""
    name = f"trilith-test-{secrets.token_hex(8)}"  # no site beside the tests has claims under it
    with ExitStack() as stack:

        def start() -> Worker:
            process = subprocess.Popen(
                [sys.executable, "-c", _CLAIM, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            return process, process.stdout.readline().split()

        yield start


def test_each_process_gets_a_cpu_of_its_own_while_there_are_some(start):
    workers = [start() for _ in CPUS]

    assert [words for _, words in workers] == [[str(cpu)] * 2 for cpu in CPUS]
    _, further = start()
    assert further == ["None", *map(str, CPUS)]


def test_the_cpu_of_a_process_that_was_killed_is_free_again(start):
    workers = [start() for _ in CPUS]
    for process, words in workers[:1]:
        process.kill()
        process.wait()
        _, replacement = start()
        assert replacement == words


def test_only_linux_can(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    assert pin_to_free_cpu() is None
