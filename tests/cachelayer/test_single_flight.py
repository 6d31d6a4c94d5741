"""Who may share whose load."""

import threading
from concurrent.futures import ThreadPoolExecutor

from cachelayer.single_flight import Batches, Flights


class TestFlights:
    def test_the_first_leads_and_the_next_follow(self):
        flights = Flights()
        first, leads = flights.join("a")
        second, follows = flights.join("a")
        other, leads_other = flights.join("b")

        assert (leads, follows, leads_other) == (True, False, True)
        assert first is second
        assert other is not first

    def test_nobody_joins_a_closed_flight(self):
        flights = Flights()
        first, _ = flights.join("a")
        flights.close("a", first)
        flights.close("a", first)

        second, leads = flights.join("a")

        assert leads
        assert second is not first

    def test_closing_an_old_flight_leaves_the_new_one(self):
        flights = Flights()
        old, _ = flights.join("a")
        flights.close("a", old)
        new, _ = flights.join("a")
        flights.close("a", old)

        assert flights.join("a")[0] is new


class TestBatches:
    def test_the_first_leads_at_once(self):
        flight, first, leads = Batches().join("a")

        assert leads
        assert first is None
        assert not flight.wait(0)

    def test_who_comes_during_a_load_shares_the_next_one(self):
        batches = Batches()
        running, _, _ = batches.join("a")
        second, waits_for, second_leads = batches.join("a")
        third, _, third_leads = batches.join("a")

        assert waits_for is running
        assert (second_leads, third_leads) == (True, False)
        assert third is second
        assert second is not running

    def test_who_comes_after_the_departure_gathers_anew(self):
        batches = Batches()
        running, _, _ = batches.join("a")
        second, _, _ = batches.join("a")
        batches.land("a", running)
        batches.depart("a", second)

        third, waits_for, leads = batches.join("a")

        assert waits_for is second
        assert leads
        assert third is not second

    def test_a_shared_load_always_began_after_its_sharers_came(self):
        """Each arrival notes the time; each load reads it when it begins; none may be older."""
        batches, lock = Batches(), threading.Lock()
        clock = [0]
        violations = []

        def tick() -> int:
            with lock:
                clock[0] += 1
                return clock[0]

        def arrive(_: int) -> None:
            came = tick()
            flight, first, leads = batches.join("a")
            if leads:
                if first is not None:
                    assert first.wait(30)
                    batches.depart("a", flight)
                began = tick()
                threading.Event().wait(0.001)
                batches.land("a", flight)
                flight.finish(began, shared=True)
            assert flight.wait(30)
            if flight.result < came:
                violations.append((came, flight.result))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(arrive, range(400)))

        assert violations == []
