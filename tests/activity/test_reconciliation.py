"""What was acknowledged against what is stored, with every way in which they may differ."""

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from activity import services, spool
from activity.documents import ActivityEvent
from activity.reconciliation import activity_reconcile
from activity.shipper import Shipper
from activity.spool import Spool

EVENT = {"user_id": "abc", "action": "note_viewed", "resource": "note", "details": {}}
LATELY = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_events() -> None:
    ActivityEvent._get_collection().delete_many({})


@pytest.fixture
def own(tmp_path) -> Spool:
    return Spool(tmp_path / "spool", max_bytes=10**9)


def account(own: Spool):
    return activity_reconcile(since=LATELY, folder=own.folder)


def drop_one() -> None:
    ActivityEvent._get_collection().delete_one({})


class TestReconcile:
    def test_nothing_is_lost_or_doubled_in_the_usual_course(self, own):
        for _ in range(20):
            own.append(EVENT)
        own.close()
        Shipper(own).ship()  # now it is in the ledger
        for _ in range(5):
            own.append(EVENT)
        Shipper(own).ship()  # of a segment that is open
        own.append(EVENT)

        counts = account(own)

        assert (counts.acknowledged, counts.stored, counts.waiting) == (26, 25, 1)
        assert (counts.lost, counts.doubled, counts.dropped, counts.elsewhere) == (0, 0, 0, 0)

    @pytest.mark.parametrize("closed", [True, False])
    def test_what_is_missing_is_lost(self, own, closed):
        for _ in range(5):
            own.append(EVENT)
        if closed:
            own.close()
        Shipper(own).ship()
        drop_one()

        assert (account(own).lost, account(own).doubled) == (1, 0)

    def test_what_is_there_and_was_not_acknowledged_is_doubled(self, own):
        identity = own.append(EVENT)
        Shipper(own).ship()
        again = bytes([identity.binary[0] ^ 1, *identity.binary[1:]])
        event = ActivityEvent._get_collection().find_one()
        ActivityEvent._get_collection().insert_one(event | {"_id": type(identity)(again)})

        assert (account(own).lost, account(own).doubled) == (0, 1)

    def test_what_another_spool_acknowledged_is_told_apart(self, own, tmp_path):
        other = Spool(tmp_path / "other", max_bytes=10**9)
        other.append(EVENT)
        Shipper(other).ship()

        assert (account(own).elsewhere, account(own).doubled) == (1, 0)

    def test_what_was_dropped_is_not_lost(self, own, monkeypatch):
        monkeypatch.setattr(spool, "SEGMENT_BYTES", 1_000)
        own.max_bytes = 3_000
        for _ in range(60):
            own.append(EVENT)
        own.close()
        Shipper(own).ship()

        counts = account(own)

        assert counts.dropped > 0
        assert counts.acknowledged == 60 == counts.stored + counts.dropped
        assert counts.lost == 0

    def test_under_way_it_raises_no_alarm(self, own):
        over = threading.Event()
        shipper = Shipper(own)

        def record() -> None:
            while not over.is_set():
                for _ in range(50):
                    own.append(EVENT)
                own.close()

        threads = [threading.Thread(target=record), threading.Thread(target=shipper.run)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                assert (account(own).lost, account(own).doubled) == (0, 0)
        finally:
            over.set()
            shipper.stop()
            for thread in threads:
                thread.join()


class TestCommand:
    def run(self, *words: str) -> str:
        out = StringIO()
        call_command("activity_reconcile", *words, stdout=out)
        return out.getvalue()

    def test_tells_the_figures(self):
        services.own_spool().append(EVENT)

        assert self.run() == (
            "1 acknowledged, 0 stored, 1 waiting, 0 dropped, 0 lost, 0 doubled "
            "(0 stored from elsewhere)\n"
        )
        assert self.run("--since=2099-01-01T00:00:00Z").startswith("0 acknowledged")

    def test_a_loss_is_an_exit_status(self):
        services.own_spool().append(EVENT)
        Shipper(services.own_spool()).ship()
        drop_one()

        with pytest.raises(SystemExit) as ended:
            self.run()

        assert ended.value.code == 1

    @pytest.mark.parametrize(
        "text", ["yesterday", "0001-01-01", "1969-12-31", "1970-01-01T00:00+14:00", "3000-01-01"]
    )
    def test_a_time_that_is_none_is_refused(self, text):
        with pytest.raises(CommandError, match=r"--since: .* is no time in the years 1970 to 2999"):
            self.run(f"--since={text}")

    def test_all_time_is_compared(self):
        assert self.run("--since=1970-01-01").startswith("0 acknowledged")
        assert self.run("--since=2999-12-31T23:59:60Z").startswith("0 acknowledged")

    def test_a_spool_that_cannot_be_read_is_one_line(self, unreadable_spool):
        with pytest.raises(
            CommandError, match=f"^the spool in {unreadable_spool}: .*{unreadable_spool}'$"
        ):
            self.run()

    def test_a_spool_that_cannot_be_made_is_one_line(self, settings):
        Path(settings.ACTIVITY_SPOOL_DIR).write_text("no folder")

        with pytest.raises(CommandError, match=r"^the spool in .*: .* File exists: .*$"):
            self.run()

    def test_a_segment_that_may_not_be_read_is_one_line(self, forbidden_segment):
        with pytest.raises(
            CommandError, match=f"^the spool in .*: .*not allowed: '{forbidden_segment}'$"
        ):
            self.run()
