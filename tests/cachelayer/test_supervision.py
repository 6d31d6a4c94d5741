import errno
import os
import threading
import time

import pytest

from cachelayer import metrics, supervision
from cachelayer.supervision import recent_failures, supervise

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(supervision, "_FIRST_PAUSE_SECONDS", 0.01)
    yield
    metrics.THREAD_FAILED_AT.clear()


class TestSupervise:
    def test_starts_again_what_raised_and_counts_it(self):
        calls = []

        def run() -> None:
            calls.append(1)
            if len(calls) < 3:
                raise AttributeError("not expected")

        thread = supervise("test-thread", run)
        thread.join(10)

        assert not thread.is_alive()
        assert len(calls) == 3
        assert metrics.THREAD_FAILURES.labels("test-thread")._value.get() == 2
        assert recent_failures()["test-thread"] < 10

    def test_ends_with_what_returns(self):
        thread = supervise("test-returning", lambda: None)
        thread.join(10)

        assert not thread.is_alive()
        assert "test-returning" not in recent_failures()

    def test_is_not_started_again_once_it_is_to_stop(self):
        stopping = threading.Event()

        def run() -> None:
            stopping.set()
            raise RuntimeError("while stopping")

        thread = supervise("test-stopping", run, stopping=stopping)
        thread.join(10)

        assert not thread.is_alive()

    def test_is_started_again_and_counted_also_where_nothing_can_be_logged(self, monkeypatch):
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(supervision.log, "exception", refuse, raising=False)
        calls = []

        def run() -> None:
            calls.append(1)
            if len(calls) < 3:
                raise AttributeError("not expected")

        supervise("test-full-disk", run).join(10)

        assert len(calls) == 3
        assert recent_failures()["test-full-disk"] < 10

    @pytest.mark.parametrize("at", [1.0, time.time() + 3_600], ids=["old", "of a clock set back"])
    def test_a_failure_is_shown_for_a_minute(self, at):
        metrics.THREAD_FAILED_AT.labels("test-old").set(at)

        assert "test-old" not in recent_failures()
