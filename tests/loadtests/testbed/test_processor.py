"""Processor time, by server."""

import hashlib
import os
import subprocess
import sys
from types import SimpleNamespace

from config.stack import Status
from loadtests.testbed import processor
from loadtests.testbed.processor import APPLICATION, MONGODB, POSTGRES, Processor

_BUSY = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def of_this_process(**pids: int) -> Processor:
    """The processor time of a site that is this process, and of servers by their pids."""
    statuses = [Status(server, "running", pid=pid) for server, pid in pids.items()]
    stack = SimpleNamespace(status=lambda: statuses)
    return Processor(SimpleNamespace(pid=os.getpid(), stack=stack))


class TestSeconds:
    def test_counts_a_process_and_its_children_also_once_they_have_ended(self):
        processor = of_this_process(mongodb=os.getpid())
        before = processor.seconds()
        with subprocess.Popen([sys.executable, "-c", _BUSY]) as child:
            child.wait()
        after = processor.seconds()

        assert after[APPLICATION] - before[APPLICATION] >= 0.25
        assert after[MONGODB] - before[MONGODB] >= 0.25

    def test_tells_the_servers_of_a_stack_apart(self, site):
        seconds = Processor(site).seconds()

        assert set(seconds) == {APPLICATION, POSTGRES, "redis", MONGODB}
        assert all(value > 0 for value in seconds.values())


class TestSettle:
    def test_waits_until_nothing_is_under_way(self, monkeypatch):
        monkeypatch.setattr(processor, "_STEP_SECONDS", 0.1)
        with subprocess.Popen([sys.executable, "-c", _BUSY]) as child:
            of_this_process(mongodb=child.pid).settle()
            spent = processor.tree_seconds(child.pid)

        assert spent >= 0.25

    def test_gives_up_what_never_rests(self, monkeypatch):
        monkeypatch.setattr(processor, "_STEP_SECONDS", 0.01)
        monkeypatch.setattr(processor, "_SETTLE_SECONDS", 0.05)
        busy = of_this_process(mongodb=os.getpid())
        monkeypatch.setattr(processor, "_IDLE", 0.0)
        hashlib.sha256(bytes(10_000_000))

        busy.settle()
