"""The order in which threads are let in, and how many at once."""

import threading

import pytest

from config.stack.process import wait_until
from config.web.fair_semaphore import FairSemaphore


class TestFairSemaphore:
    def test_lets_in_so_many_at_once(self):
        semaphore, inside, most = FairSemaphore(2), [], []
        both = threading.Barrier(2)

        def enter() -> None:
            with semaphore:
                inside.append(1)
                both.wait(30)  # so there are two, and the next two only after them
                most.append(len(inside))
                both.wait(30)
                inside.pop()

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(most) == 4
        assert max(most) == 2

    def test_whoever_comes_later_does_not_go_first(self):
        semaphore, order = FairSemaphore(1), []

        def enter(name: str) -> None:
            with semaphore:
                order.append(name)

        waiting = []
        with semaphore:
            for name in ("first", "second"):
                waiting.append(threading.Thread(target=enter, args=[name]))
                waiting[-1].start()
                assert wait_until(lambda: len(semaphore._waiting) == len(waiting), 30)
        enter("last")

        assert order == ["first", "second", "last"]
        for thread in waiting:
            thread.join(30)

    def test_an_error_gives_the_place_back(self):
        semaphore = FairSemaphore(1)

        for _ in range(2):
            with pytest.raises(ValueError, match="inside"), semaphore:
                raise ValueError("inside")
