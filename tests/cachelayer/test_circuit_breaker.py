"""One probe at a time, whatever opens and closes the breaker meanwhile."""

import threading

import pytest

from cachelayer import metrics
from cachelayer.circuit_breaker import Breaker
from config.stack.process import wait_until


def probes() -> int:
    return sum(thread.name == "Test breaker" for thread in threading.enumerate())


@pytest.fixture
def refused():
    """A server that answers no probe, and how often it was probed."""
    attempts = []

    def recover() -> None:
        attempts.append(1)
        raise ConnectionError

    breaker = Breaker("Test", recover, first_seconds=0.02, longest_seconds=0.02)
    breaker.attempts = attempts
    yield breaker
    breaker.reset()
    assert wait_until(lambda: probes() == 0, 30)


def no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def fail(breaker: Breaker) -> None:
    breaker.failed(TimeoutError(), opens=True)


class TestProbe:
    def test_reset_ends_it(self, refused):
        fail(refused)
        assert probes() == 1

        refused.reset()

        assert wait_until(lambda: probes() == 0, 30)
        assert not refused.is_open

    def test_opened_again_after_a_reset_there_is_one(self, refused):
        for _ in range(5):
            fail(refused)
            refused.reset()
        fail(refused)

        assert wait_until(lambda: probes() == 1, 30)
        earlier = len(refused.attempts)
        assert wait_until(lambda: len(refused.attempts) > earlier + 2, 30)
        assert probes() == 1
        assert refused.is_open

    def test_where_no_thread_can_be_started_it_stays_closed(self, refused, monkeypatch):
        """Nothing would close it again; the next failure tries to open it once more."""
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            fail(refused)
        assert not refused.is_open

        fail(refused)
        assert refused.is_open

    def test_one_that_began_before_a_reset_closes_nothing_that_opened_after_it(self):
        """It answers late: what it found out is older than the failure."""
        probed, answer = threading.Event(), threading.Event()

        def recover() -> None:
            if probed.is_set():
                raise ConnectionError
            probed.set()
            answer.wait(30)

        breaker = Breaker("Test", recover, first_seconds=0.02, longest_seconds=0.02)
        fail(breaker)
        assert probed.wait(30)
        breaker.reset()
        fail(breaker)

        answer.set()

        assert wait_until(lambda: probes() == 1, 30)
        assert breaker.is_open
        breaker.reset()

    def test_its_states_are_shown_in_their_order(self):
        """None while another one is under way: the last that is shown would not be the last."""
        breaker = Breaker("Test", lambda: None, first_seconds=0.02)
        shown = []
        breaker.when_changed = lambda is_open: shown.append((is_open, breaker._lock.locked()))
        fail(breaker)
        assert wait_until(lambda: not breaker.is_open and probes() == 0, 30)
        breaker.reset()

        assert shown == [(True, True), (False, True), (False, True)]

    def test_is_closed_even_where_the_change_cannot_be_shown(self):
        breaker = Breaker("Test", lambda: None, first_seconds=0.02)
        fail(breaker)
        breaker.when_changed = lambda is_open: 1 / 0

        assert wait_until(lambda: not breaker.is_open and probes() == 0, 30)
        metrics.THREAD_FAILED_AT.clear()
