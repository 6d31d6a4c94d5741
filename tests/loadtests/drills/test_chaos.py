"""The chaos run: its judgement of a read, its faults on real servers, and that it catches a naive cache."""

import itertools
import json
from collections import Counter

import pytest

from loadtests.__main__ import main
from loadtests.drills.chaos import clients, report
from loadtests.drills.chaos.board import NOTE, PROFILE, REGISTERS_EACH, Board
from loadtests.drills.chaos.clients import Outcome, Plan, Reader, Write
from loadtests.drills.chaos.run import Injection, Run, schedule
from loadtests.generators.http_load import Sample
from loadtests.testbed.faults import FAULTS, Fault, nothing

WRITERS = 2


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "board", WRITERS)


class TestBoard:
    def test_is_shared_by_all_who_open_its_file(self, tmp_path):
        one, other = (Board(tmp_path / "board", WRITERS) for _ in range(2))
        register = one.open_register(1, NOTE, "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b")

        one.acknowledge(register, 3, worker=2)
        one.show(1, 0, register)
        one.phase = 7
        one.note_hit(1, 99)
        one.avoided = 0

        assert other.shown(1, 0) == other.recent() == register == REGISTERS_EACH
        assert other.name(register) == "5b0f2c3e-8a7d-4e0f-9b1a-2c3d4e5f6a7b"
        assert (other.acknowledged(register).number, other.acknowledged(register).worker) == (3, 2)
        assert (other.phase, other.last_hit(1), other.last_hit(0), other.avoided) == (7, 99, 0, 0)
        assert other.written_at >= other.acknowledged(register).answered_at > 0
        assert not other.is_over
        one.end()
        assert other.is_over

    def test_nothing_is_shown_before_it_is_there(self, board):
        assert board.shown(0, 0) is None
        assert board.recent() is None
        assert list(board.registers_of(0, kind=NOTE, last=5)) == []

    def test_the_registers_of_a_writer_come_newest_first(self, board):
        kinds = (NOTE, PROFILE, NOTE, NOTE)
        registers = [board.open_register(1, kind, str(number)) for number, kind in enumerate(kinds)]

        assert list(board.registers_of(1, kind=NOTE, last=3)) == [registers[3], registers[2]]

    def test_a_read_is_held_against_what_was_acknowledged_before_it_began(self, board):
        register = board.open_register(0, NOTE, "note")
        board.acknowledge(register, 4, worker=0)
        floor = board.acknowledged(register)
        board.acknowledge(register, 5, worker=0)  # while it is read

        assert board.is_stale(register, floor, 3)
        assert not board.is_stale(register, floor, 4)
        assert not board.is_stale(register, floor, 5)

    def test_absence_is_stale_unless_a_delete_was_sent(self, board):
        register = board.open_register(0, PROFILE, "user")
        board.acknowledge(register, 4, worker=0)
        floor = board.acknowledged(register)
        assert board.is_stale(register, floor, None)

        board.begin_delete(register, 5)
        assert not board.is_stale(register, floor, None)
        assert not board.is_stale(register, floor, 4)

        board.acknowledge(register, 5, worker=0)
        deleted = board.acknowledged(register)
        assert board.is_stale(register, deleted, 4)
        assert not board.is_stale(register, deleted, None)

        board.acknowledge(register, 6, worker=0)  # created anew
        assert board.is_stale(register, board.acknowledged(register), None)


class TestReader:
    @pytest.fixture
    def reader(self, board, tmp_path):
        return Reader(Plan(tmp_path / "board", ["http://127.0.0.1:1"], "run", 1, 2), board, 0, 1)

    def read(self, reader, monkeypatch, sample):
        monkeypatch.setattr(clients, "send_now", lambda connection, call: sample)
        monkeypatch.setattr(reader._random, "random", lambda: 0.4)  # what was written last
        reader.read_once(None)

    @pytest.mark.parametrize(
        ("cache", "source"), [("hit; ttl=1", "Redis"), ("hit; ttl=1; detail=L1", "L1")]
    )
    def test_an_older_note_is_stale_whatever_its_level(
        self, reader, board, monkeypatch, cache, source
    ):
        register = board.open_register(0, NOTE, "note")
        board.acknowledge(register, 2, worker=0)

        self.read(reader, monkeypatch, Sample("", 0, 1, 200, cache, body=b'{"version": 1}'))

        assert reader.outcome.stale == {(0, source): 1}
        assert reader.outcome.reads == {(0, 0, "notes", source): 1}
        (trace,) = reader.outcome.traces
        assert (trace.number, trace.floor) == (1, 2)
        assert board.last_hit(0)

    def test_what_is_marked_as_no_promise_is_counted_apart(self, reader, board, monkeypatch):
        register = board.open_register(0, NOTE, "note")
        board.acknowledge(register, 2, worker=0)

        cache = "hit; ttl=1; detail=unverified"
        self.read(reader, monkeypatch, Sample("", 0, 1, 200, cache, body=b'{"version": 1}'))

        assert reader.outcome.stale == {(0, "unverified"): 1}
        assert reader.outcome.traces == []
        assert not board.last_hit(0)

    def test_an_old_profile_and_one_that_is_absent_are_stale(self, reader, board, monkeypatch):
        register = board.open_register(0, PROFILE, "user")
        board.acknowledge(register, 2, worker=0)
        old = json.dumps({"preferences": {"number": 1}}).encode()

        for status, body in ((200, old), (404, b""), (503, b""), (0, b"")):
            self.read(reader, monkeypatch, Sample("", 0, 1, status, "hit; ttl=1", body=body))

        assert reader.outcome.stale == {(0, "Redis"): 2}
        assert reader.outcome.reads[0, 0, "profiles", "answered 503"] == 1
        assert reader.outcome.reads[0, 0, "profiles", "cut off"] == 1

    def test_a_page_must_hold_each_note_in_its_newest_state(self, reader, board, monkeypatch):
        registers = [board.open_register(0, NOTE, name) for name in ("a", "b")]
        for place, register in enumerate(registers):
            board.acknowledge(register, 2, worker=0)
            board.show(0, place, register)
        monkeypatch.setattr(reader._random, "random", lambda: 0.1)

        for notes in (
            {"a": 2, "b": 3},
            {"a": 2, "b": 1},
            {"a": 2},
            {"a": 1, "b": 1},
        ):
            page = {"results": [{"id": name, "version": number} for name, number in notes.items()]}
            body = json.dumps(page).encode()
            sample = Sample("", 0, 1, 200, "hit; ttl=1", body=body)
            monkeypatch.setattr(clients, "send_now", lambda connection, call, sample=sample: sample)
            reader._read_page(None, 0)

        assert reader.outcome.stale == {(0, "Redis"): 3}  # a page each


class TestSchedule:
    def test_draws_each_fault_before_any_comes_again(self):
        drawn = [fault for fault, _ in itertools.islice(schedule(FAULTS, 1), 2 * len(FAULTS))]

        assert Counter(drawn) == dict.fromkeys(FAULTS, 2)
        assert set(drawn[: len(FAULTS)]) == set(FAULTS)

    def test_is_the_same_for_the_same_seed(self):
        one, same, other = (
            [(fault, rng.random()) for fault, rng in itertools.islice(schedule(FAULTS, seed), 30)]
            for seed in (1, 1, 2)
        )

        assert one == same != other


def made_up(**changes: object) -> Run:
    """A run of one fault in which all is well, but for the changes of its outcome."""
    fault = Fault("a fault", nothing, 1, 1)
    outcome = Outcome(
        Counter({(0, 0, "notes", "Redis"): 5, (1, 0, "notes", "not cached"): 2}),
        writes=[Write(0, "update", 200, 3.0), Write(1, "update", 503, 9.0)],
    )
    for name, value in changes.items():
        setattr(outcome, name, value)
    return Run([Injection(fault, 1.0, hits_back={0: 0.5})], outcome, 1.0, 1)


class TestReport:
    def test_finds_nothing_where_all_is_well(self):
        run = made_up()

        assert report.violations(run) == []
        assert report.stale_reads(run) == 0
        assert report.as_table(run, "stamps").row_count == 2
        (summary,) = report.summaries(run)
        assert (summary.reads, summary.hits_during, summary.hits_back) == (7, 5, [0.5])
        assert [write.latency_ms for write in summary.acknowledged] == [3.0]

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            ({"stale": Counter({(1, "Redis"): 2})}, "a fault: 2 stale reads"),
            ({"reads": Counter({(0, 0, "notes", "not cached"): 2})}, "a fault: no hit"),
            ({"reads": Counter({(0, 0, "notes", "unverified"): 2})}, "a fault: no hit"),
            ({"writes": [Write(0, "update", 503, 1.0)]}, "a fault: no write was acknowledged"),
            ({"errors": ["a process of clients died"]}, "a client failed: a process"),
        ],
    )
    def test_says_what_was_stale_and_what_was_not_tested(self, changes, line):
        (found,) = report.violations(made_up(**changes))

        assert found.startswith(line)

    def test_what_is_marked_as_no_promise_is_no_stale_read(self):
        run = made_up(stale=Counter({(0, "unverified"): 2}))

        assert report.violations(run) == []
        assert report.stale_reads(run) == 0

    def test_hits_that_stay_away_are_told(self):
        run = made_up()
        run.injections[0].hits_back[0] = None

        assert report.violations(run) == ["a fault: hits did not come back"]

    def test_a_fault_that_could_not_be_injected_is_told(self):
        run = made_up()
        run.injections[0].failure = "StackError: no"

        assert report.violations(run) == ["a fault: not injected: StackError: no"]


class TestCommand:
    def test_no_read_is_stale_under_any_fault(self, capsys):
        """Each once and briefly, in an order that the seed draws; at length: make chaos."""
        assert main(["chaos", "--workers", "2", "--seconds", "1", "--pace", "0.15"]) == 0, (
            capsys.readouterr().out
        )

    def test_the_naive_protocol_is_caught_in_the_same_harness(self, capsys):
        options = ["--workers", "2", "--protocol", "naive", "--fault", "nothing", "--until-stale"]

        assert main(["chaos", *options]) == 0, capsys.readouterr().out
