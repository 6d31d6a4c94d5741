"""Edits past the service, as a person makes them in the MongoDB shell or in psql."""

import threading

import pytest
from django.db import connection
from pymongo.errors import OperationFailure

from cachelayer import keys, outbox, store
from cachelayer.models import Clearance
from config.stack.process import wait_until
from profiles import selectors, watching
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from profiles.watching import Watcher

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _pre_images() -> None:
    UserProfile.ensure_indexes()  # which make the collection
    UserProfile._get_db().command(
        "collMod", "user_profiles", changeStreamPreAndPostImages={"enabled": True}
    )


@pytest.fixture(autouse=True)
def _from_the_start() -> None:
    watching._tokens().delete_many({})


class Running:
    """A watcher in a thread, as a process of the site has it."""

    def __enter__(self) -> Watcher:
        self.watcher = Watcher()
        self.thread = threading.Thread(target=self.watcher.run)
        self.thread.start()
        assert wait_until(lambda: self.watcher.watches, 30)
        return self.watcher

    def __exit__(self, *args: object) -> None:
        self.watcher.stop()
        self.thread.join()


def collection():
    return UserProfile._get_collection()


def is_cached(user_id: str = "abc") -> bool:
    return store.look(keys.profile(user_id)).fresh


def edit(email: str = "edited@example.org") -> None:
    collection().update_one({"user_id": "abc"}, {"$set": {"email": email}})


def email_of_twin() -> str | None:
    return ProfileRow.objects.filter(pk="abc").values_list("email", flat=True).first()


def fail(errors: list[Exception]) -> None:
    raise errors.pop()


class TestWatcher:
    @pytest.fixture(autouse=True)
    def _mongodb_serves(self, settings) -> None:
        settings.PROFILE_BACKEND = "mongo"

    def test_an_edit_in_the_shell_is_seen_and_copied(self, send, made):
        made()
        with Running():
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
            edit()

            assert wait_until(
                lambda: send("GET", "/abc").json()["email"] == "edited@example.org", 30
            )
            assert wait_until(lambda: email_of_twin() == "edited@example.org", 30)

    def test_so_is_a_delete_and_its_copy_is_erased(self, send, made, redis_client):
        made()
        with Running():
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
            collection().delete_one({"user_id": "abc"})

            copy = keys.profile("abc").entry_name
            assert wait_until(lambda: not redis_client.exists(copy), 30)
            assert send("GET", "/abc").status_code == 404
            assert wait_until(lambda: email_of_twin() is None, 30)

    def test_what_changed_while_none_ran_is_seen_afterwards(self, send, made):
        made()
        with Running():
            pass
        send("GET", "/abc")
        edit()
        assert is_cached()

        with Running():
            assert wait_until(lambda: not is_cached(), 30)

    def test_one_of_several_watches(self):
        with Running():
            second = Watcher()
            thread = threading.Thread(target=second.run)
            thread.start()
            assert not wait_until(lambda: second.watches, 1.5)
            second.stop()
            thread.join()

    def test_from_where_it_cannot_go_on_it_starts_afresh_and_trusts_nothing(
        self, send, made, monkeypatch
    ):
        """An oplog that does not reach back so far takes gigabytes to make; so its error is made."""
        made()
        send("GET", "/abc")
        assert is_cached()
        watching._keep({"_data": "of a time before the oplog"})
        stream, refusals = watching._stream, [OperationFailure("resume point is gone", 286)]
        monkeypatch.setattr(watching, "_stream", lambda: fail(refusals) if refusals else stream())

        with Running():
            assert not is_cached()
            assert Clearance.objects.filter(cleared_by="change stream").exists()
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)

    def test_goes_on_after_an_outage_of_mongodb(self, mongodb_restored, send, made):
        made()
        with Running() as watcher:
            mongodb_restored.kill("mongodb")
            assert wait_until(lambda: not watcher.watches, 30)
            mongodb_restored.start("mongodb")
            assert wait_until(lambda: watcher.watches, 30)
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)

            edit()

            assert wait_until(lambda: not is_cached(), 30)


class TestTriggers:
    """With PROFILE_BACKEND=postgres it is psql past which nothing gets."""

    @pytest.fixture(autouse=True)
    def _postgres(self, settings) -> None:
        settings.PROFILE_BACKEND = "postgres"

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE user_profiles SET email = 'x@example.org'",
            "DELETE FROM user_profiles",
            "TRUNCATE user_profiles",
        ],
    )
    def test_an_edit_in_psql_leaves_its_tags_in_the_outbox(self, made, statement):
        made()
        selectors.profile_get(user_id="abc")
        with connection.cursor() as cursor:
            cursor.execute(statement)
        outbox.deliver(also_not_due=True)

        assert not is_cached()

    def test_a_copy_of_a_profile_invalidates_nothing(self, made, settings):
        settings.PROFILE_BACKEND = "mongo"
        made()

        assert outbox.depth_and_age()[0] == 0
        assert email_of_twin() == "abc@example.org"
