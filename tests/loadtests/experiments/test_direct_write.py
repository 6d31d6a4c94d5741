"""Judging writes past the API on made-up windows, and putting the triggers back."""

import psycopg
import pytest
import redis

from config.stack import Stack
from loadtests.experiments.direct_write import EXPERIMENT
from loadtests.experiments.direct_write.client import Notes, Response
from loadtests.experiments.direct_write.method import FULL, NEW, CachedNote, Observations, _look
from loadtests.generators.http_load import connected
from loadtests.lab.experiment import Outcome
from loadtests.testbed.site import Site


def copy(*, age_s: float, late_s: float = 0.06) -> CachedNote:
    note = CachedNote("note", age_s, stored_at=100.0, lifetime_s=10.0, written_at=100.0 + age_s)
    note.seen_at = note.written_at + note.predicted_s + late_s
    note.stale_reads = 40
    note.first_was_stale_hit = note.database_was_new = note.disagreed = True
    return note


@pytest.fixture
def observations() -> Observations:
    return Observations(
        FULL,
        copies=[copy(age_s=age_s) for age_s in (0.0, 2.0, 4.0)],
        unread=[(True, True)] * 3,
        edits_ms=[5.0, 6.0, 9.0],
        stale_with_triggers=4,
        cleared=[(True, True)] * 3,
        validated=[304] * 3,
        validated_on_ms=[6.0, 7.0],
        forced=[(True, True)] * 3,
        written_through=[True] * 3,
        own_writes=[True] * 3,
    )


def outcome(observations: Observations, key: str) -> Outcome:
    rows = EXPERIMENT.findings(observations).rows
    return next(row.outcome for row in rows if row.expectation.key == key)


class TestFindings:
    def test_what_one_expects_comes_out_as_declared(self, observations):
        findings = EXPERIMENT.findings(observations)

        assert all(row.is_as_declared(quick=False) for row in findings.rows)
        assert [row.expectation for row in findings.rows] == list(EXPERIMENT.expectations)

    def test_every_row_and_guess_names_what_was_measured(self, observations):
        findings = EXPERIMENT.findings(observations)

        names = {series.name for series in findings.series}
        assert all(row.evidence and set(row.evidence) <= names for row in findings.rows)
        assert {guess.quantity for guess in EXPERIMENT.guesses} <= set(findings.quantities)

    def test_windows_are_scaled_to_the_services_ttl(self, observations):
        findings = EXPERIMENT.findings(observations)

        # 0.8 of a lifetime of 10 s, and 0.06 s, at a TTL of 10 s instead of 300 s.
        assert findings.quantities["window_without_triggers_at_ttl_300_s"] == pytest.approx(
            242, abs=1
        )
        assert findings.charts[0].title.endswith("6 ms with the triggers, without them for 242 s")
        assert findings.charts[1].title.endswith("to within 60 ms")

    @pytest.mark.parametrize(
        ("field", "value", "key"),
        [
            ("unread", [(True, True), (False, True)], "ttl-ends-it"),
            ("cleared", [(True, False)], "clear-recovers"),
            ("forced", [(True, False)], "parameter-helps"),
            ("own_writes", [True, False], "own-writes"),
            ("edits_ms", [1500.0] * 3, "triggers-help"),
            ("validated_on_ms", [2500.0], "etag-with-triggers"),
        ],
    )
    def test_what_does_not_hold_is_refuted(self, observations, field, value, key):
        setattr(observations, field, value)

        assert outcome(observations, key) is Outcome.REFUTED

    @pytest.mark.parametrize(
        ("field", "value", "key"),
        [
            ("validated", [200, 200], "etag-helps"),
            ("written_through", [False, False], "write-through-helps"),
        ],
    )
    def test_what_would_help_against_expectation_is_confirmed(
        self, observations, field, value, key
    ):
        setattr(observations, field, value)

        assert outcome(observations, key) is Outcome.CONFIRMED

    @pytest.mark.parametrize(
        ("field", "value", "key"),
        [
            ("validated", [200, 304], "etag-helps"),
            ("written_through", [False, True], "write-through-helps"),
            ("edits_ms", [500.0] * 3, "triggers-help"),
            ("cleared", [], "clear-recovers"),
        ],
    )
    def test_what_is_neither_is_inconclusive(self, observations, field, value, key):
        setattr(observations, field, value)

        assert outcome(observations, key) is Outcome.INCONCLUSIVE

    def test_a_write_that_was_never_seen_refutes_what_ends_it(self, observations):
        never = copy(age_s=0.0)
        never.seen_at, never.watched_until = None, never.written_at + 20.0
        observations.copies = [never] * 3

        assert outcome(observations, "window-predicted") is Outcome.REFUTED
        assert outcome(observations, "waiting-recovers") is Outcome.REFUTED


class TestLook:
    def test_counts_stale_reads_until_the_new_title_is_seen(self):
        class Answering:
            titles = iter(["Test", "Test", NEW])

            def read(self, note: str) -> Response:
                return Response(200, next(self.titles), "hit", '"a"')

        note = CachedNote("note", 0.0, stored_at=0.0, lifetime_s=1.0)

        assert [_look(Answering(), note) for _ in range(3)] == [True, True, False]
        assert note.stale_reads == 2
        assert note.seen_at is not None


class TestTriggersOff:
    def test_the_triggers_are_back_after_an_interrupt(self, stack: Stack):
        url = stack.operator_urls()["DATABASE_URL"]
        with (
            connected("http://127.0.0.1:1") as http,
            psycopg.connect(url, autocommit=True) as psql,
            redis.Redis() as server,
        ):
            psql.execute("CREATE TEMPORARY TABLE notes (title text)")  # before the real one
            psql.execute(
                "CREATE TRIGGER notes_updated BEFORE UPDATE ON notes FOR EACH ROW "
                "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            )

            def state() -> str:
                return psql.execute(
                    "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'notes'::regclass"
                ).fetchone()[0]

            notes = Notes(Site("http://127.0.0.1:1", stack, pid=0), http, psql, server)
            with pytest.raises(KeyboardInterrupt), notes.triggers_off():
                off = state()
                raise KeyboardInterrupt

            assert (off, state()) == ("D", "O")
