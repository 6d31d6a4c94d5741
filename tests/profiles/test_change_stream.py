"""Edits past the service, as a person makes them in the MongoDB shell or in psql."""

import io
import threading

import bson
import mongoengine
import pytest
from bson import Decimal128, ObjectId, datetime_ms
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from django.core.management import call_command
from django.db import OperationalError, connection
from pymongo.errors import NotPrimaryError, OperationFailure

from cachelayer import outbox, protocol
from cachelayer.models import Clearance
from config.stack.process import wait_until
from profiles import backends, cache_keys, change_stream, documents, selectors, services
from profiles.change_stream import Watcher
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from profiles.preferences import completed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _pre_images() -> None:
    UserProfile.ensure_indexes()  # which make the collection
    keep_pre_images(True)


def keep_pre_images(enabled: bool) -> None:
    mongoengine.get_db().command(
        "collMod", "user_profiles", changeStreamPreAndPostImages={"enabled": enabled}
    )


@pytest.fixture(autouse=True)
def _from_the_start() -> None:
    change_stream._tokens().delete_many({})


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
    return mongoengine.get_db()["user_profiles"]


def is_cached(user_id: str = "abc") -> bool:
    return protocol.look(cache_keys.profile(user_id)).fresh


def edit(email: str = "edited@example.org") -> None:
    collection().update_one({"user_id": "abc"}, {"$set": {"email": email}})


def email_in_mirror() -> str | None:
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
            assert wait_until(lambda: email_in_mirror() == "edited@example.org", 30)

    def test_so_is_a_delete_and_its_copy_is_erased(self, send, made, redis_client):
        made()
        with Running():
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
            collection().delete_one({"user_id": "abc"})

            copy = cache_keys.profile("abc").entry_name
            assert wait_until(lambda: not redis_client.exists(copy), 30)
            assert send("GET", "/abc").status_code == 404
            assert wait_until(lambda: email_in_mirror() is None, 30)

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
        change_stream._save_token({"_data": "of a time before the oplog"})
        stream, refusals = change_stream._stream, [OperationFailure("resume point is gone", 286)]
        monkeypatch.setattr(
            change_stream, "_stream", lambda token: fail(refusals) if refusals else stream(token)
        )

        with Running():
            assert not is_cached()
            assert Clearance.objects.filter(cleared_by="change stream").exists()
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)

    def test_what_was_cached_before_its_first_stream_is_not_trusted_either(
        self, send, made, monkeypatch
    ):
        """An edit while nothing watches yet, after a read has filled the cache."""
        made()
        stream = change_stream._stream

        def opened(token):
            send("GET", "/abc")
            edit()
            assert is_cached()
            return stream(token)

        monkeypatch.setattr(change_stream, "_stream", opened)

        with Running():
            assert send("GET", "/abc").json()["email"] == "edited@example.org"

    @pytest.mark.parametrize("away", ["drop", "rename"])
    def test_goes_on_where_the_collection_was_dropped_or_renamed(self, send, made, away):
        """As mongorestore --drop does; the server ends the stream then."""
        made()
        with Running():
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
            intact = collection().find_one({"user_id": "abc"})
            try:
                if away == "drop":
                    collection().drop()
                else:
                    collection().rename("away")
                assert wait_until(lambda: send("GET", "/abc").status_code == 404, 30)
            finally:
                mongoengine.get_db()["away"].drop()
                UserProfile.ensure_indexes()
                keep_pre_images(True)
            collection().insert_one(intact)
            assert wait_until(lambda: send("GET", "/abc").status_code == 200, 30)
            assert wait_until(is_cached, 30)

            edit()

            assert wait_until(
                lambda: send("GET", "/abc").json()["email"] == "edited@example.org", 30
            )

    @pytest.mark.parametrize("how", ["update", "replace"])
    def test_who_had_the_profile_before_is_not_known_without_pre_images(self, send, made, how):
        made()
        keep_pre_images(False)
        try:
            with Running():
                assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
                if how == "update":
                    collection().update_one({"user_id": "abc"}, {"$set": {"user_id": "def"}})
                else:
                    intact = collection().find_one({"user_id": "abc"})
                    collection().replace_one({"user_id": "abc"}, intact | {"user_id": "def"})

                assert wait_until(lambda: send("GET", "/abc").status_code == 404, 30)
        finally:
            keep_pre_images(True)

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


ELSEWHERE = datetime_ms.DatetimeMS(253_402_300_800_000)  # the year 10000
MALFORMED = {
    "metadata: text": {"metadata": "none"},
    "metadata: number": {"metadata": 5},
    "metadata: list": {"metadata": [1]},
    "metadata: null": {"metadata": None},
    "metadata: object of others": {"metadata": {"created_at": "today", "updated_at": 1}},
    "metadata: year 10000": {"metadata": {"created_at": ELSEWHERE, "updated_at": ELSEWHERE}},
    "preferences: list": {"preferences": [1, 2]},
    "preferences: text": {"preferences": "dark"},
    "preferences: ObjectId within": {"preferences": {"theme": ObjectId()}},
    "preferences: date within": {"preferences": {"theme": ELSEWHERE}},
    "preferences: decimal within": {"preferences": {"x": Decimal128("1.5")}},
    "preferences: binary within": {"preferences": {"x": b"\0\xff"}},
    "preferences: NUL within": {"preferences": {"x": "a\0b"}},
    "preferences: NaN within": {"preferences": {"x": float("nan")}},
    "preferences: a date in place of notifications": {"preferences": {"notifications": ELSEWHERE}},
    "email: number": {"email": 5},
    "email: null": {"email": None},
    "email: too long": {"email": "x" * 300},
    "email: another's": {"email": "eve@example.org"},
    "version: text": {"version": "two"},
    "version: double": {"version": 2.0},
    "version: NaN": {"version": float("nan")},
    "version: beyond integer": {"version": 2**40},
    "version: true": {"version": True},
    "schema_version: text": {"schema_version": "new"},
    "schema_version: null, of old": {"schema_version": None, "metadata": "none"},
    "user_id: number": {"user_id": 5},
    "user_id: object": {"user_id": {"$each": {"a": 1}}},
    "user_id: list": {"user_id": ["abc"]},
    "user_id: null": {"user_id": None},
    "user_id: NUL": {"user_id": "a\0b"},
    "user_id: empty": {"user_id": ""},
}
# What PostgreSQL cannot hold.
REFUSED = {
    *("preferences: NUL within", "email: too long", "version: beyond integer", "user_id: NUL"),
}


class TestMalformed:
    """One document, as a person may write it in the shell, is no reason to see no other."""

    @pytest.fixture(autouse=True)
    def _mongodb_serves(self, settings, made) -> None:
        settings.PROFILE_BACKEND = "mongo"
        made()
        made("bob")

    def later_edits_arrive(self) -> bool:
        email = f"{ObjectId()}@example.org"
        collection().update_one({"user_id": "bob"}, {"$set": {"email": email}})
        return wait_until(lambda: ProfileRow.objects.filter(pk="bob", email=email).exists(), 30)

    @pytest.mark.parametrize("pre_images", [True, False])
    def test_the_watcher_goes_on_and_its_copy_is_dropped(self, send, made, pre_images):
        """Each shape in turn, by the same watcher; a second watcher begins after them all."""
        made("eve")  # whose e-mail belongs to another profile in the other store
        collection().delete_one({"user_id": "eve"})
        intact = collection().find_one({"user_id": "abc"})
        keep_pre_images(pre_images)
        try:
            with Running() as watcher:
                for shape, changes in MALFORMED.items():
                    assert wait_until(
                        lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30
                    ), shape
                    token = change_stream._tokens().find_one()["token"]

                    collection().replace_one({"_id": intact["_id"]}, intact | changes)

                    assert wait_until(lambda: not is_cached(), 30), shape
                    assert self.later_edits_arrive(), shape
                    assert wait_until(
                        lambda before=token: change_stream._tokens().find_one()["token"] != before,
                        30,
                    ), shape
                    assert watcher.watches, shape
                    collection().replace_one({"_id": intact["_id"]}, intact)
                    assert self.later_edits_arrive(), shape
        finally:
            keep_pre_images(True)

    @pytest.mark.parametrize("change", ["PUT", "PATCH"])
    def test_a_client_can_write_over_it(self, send, change):
        intact = collection().find_one({"user_id": "abc"})
        for shape, changes in MALFORMED.items():
            if "user_id" in changes or "another's" in shape:
                continue
            collection().replace_one({"_id": intact["_id"]}, intact | changes)

            response = (
                send("PUT", "/abc", {"email": "abc@example.org", "preferences": {"theme": "dark"}})
                if change == "PUT"
                else send("PATCH", "/abc/preferences", {"theme": "dark"})
            )

            assert response.status_code == 200, shape
            assert response.json()["preferences"]["theme"] == "dark", shape
            assert send("GET", "/mongo/abc").json() == response.json(), shape

    def test_an_array_with_a_user_id_in_it_is_nobody_s_profile(self, send):
        collection().update_one({"user_id": "abc"}, {"$set": {"user_id": ["abc"]}})
        past_cache = {"Cache-Control": "no-cache"}

        assert send("GET", "/abc", **past_cache).status_code == 404
        assert send("GET", "/mongo/abc").status_code == 404
        assert send("PATCH", "/abc/preferences", {"theme": "dark"}).status_code == 404
        body = {"email": "abc@example.org", "preferences": {}}
        assert send("PUT", "/abc", body).status_code == 404
        assert send("DELETE", "/abc").status_code == 404

    def test_nor_does_the_next_watcher_stop_at_it(self):
        with Running():
            pass
        collection().update_one({"user_id": "abc"}, {"$set": {"metadata": "none", "user_id": 5}})
        with Running():
            assert self.later_edits_arrive()

    @pytest.mark.parametrize("shape", MALFORMED)
    def test_copying_all_goes_on_and_says_what_was_not_copied(self, shape):
        ProfileRow.objects.filter(pk="bob").delete()
        collection().update_one({"user_id": "abc"}, {"$set": MALFORMED[shape]})
        out, err = io.StringIO(), io.StringIO()

        call_command("copy_profiles", stdout=out, stderr=err)

        assert ProfileRow.objects.filter(pk="bob").exists()
        refused = shape in REFUSED
        assert ("1 were not copied" in err.getvalue()) is refused
        assert ("1 profiles copied" in out.getvalue()) is (refused or "user_id" in shape)

    @pytest.mark.parametrize("shape", MALFORMED)
    def test_the_list_has_the_others(self, shape):
        collection().update_one({"user_id": "abc"}, {"$set": MALFORMED[shape]})

        for text in ("", "bob@example.org"):
            lines = backends.primary().find(text=text, after="", limit=10)
            assert "bob" in [line.user_id for line in lines]
        lines = backends.primary().find(text="abc@example.org", after="", limit=10)
        assert all(isinstance(line.user_id, str) for line in lines)

    @pytest.mark.parametrize("shape", MALFORMED)
    def test_nor_is_it_in_the_way_of_the_copies_in_mongodb(self, settings, shape):
        settings.PROFILE_BACKEND = "postgres"
        collection().delete_one({"user_id": "bob"})
        collection().update_one({"user_id": "abc"}, {"$set": MALFORMED[shape]})

        assert sum(compared.profiles for compared in services.profiles_copy()) == 2

        assert collection().find_one({"user_id": "bob"})

    def test_bytes_that_are_no_utf_8_do_not_end_it(self, send):
        with Running():
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)
            document = collection().find_one({"user_id": "abc"}) | {"email": "MARK@example.org"}
            raw = RawBSONDocument(
                bson.encode(document).replace(b"MARK", b"\xff\xfe\xfd\xfc"),
                CodecOptions(RawBSONDocument, unicode_decode_error_handler="replace"),
            )

            collection().replace_one({"_id": document["_id"]}, raw)

            assert wait_until(lambda: not is_cached(), 30)
            assert self.later_edits_arrive()
            assert send("GET", "/abc").status_code == 200

    @pytest.mark.parametrize("user_id", [5, "", "a\0b", "x" * 200, None, [], {}])
    def test_an_insert_of_nobody_s_profile_clears_nothing(self, send, user_id):
        with Running():
            clearances = Clearance.objects.count()
            assert wait_until(lambda: send("GET", "/abc")["Cache-Status"].count("hit"), 30)

            collection().insert_one({"user_id": user_id, "email": "nobody@example.org"})

            assert self.later_edits_arrive()
            assert is_cached()
        assert Clearance.objects.count() == clearances

    def test_what_the_other_store_does_not_take_is_counted(self):
        failed = change_stream.COPIES_FAILED.labels("DataError")
        before = failed._value.get()
        with Running():
            collection().update_one({"user_id": "abc"}, {"$set": {"version": 2**40}})

            assert self.later_edits_arrive()
            assert wait_until(lambda: failed._value.get() == before + 1, 30)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"metadata": "none"}, {"version": 1, "email": "abc@example.org"}),
            ({"version": "two"}, {"version": 1}),
            ({"version": 3.0}, {"version": 3}),
            ({"email": 5}, {"email": ""}),
            ({"preferences": [1]}, {"preferences": completed({})}),
        ],
    )
    def test_what_is_of_another_type_reads_as_missing_and_is_counted(self, send, changes, expected):
        (field,) = changes
        counted = documents.MALFORMED_FIELDS.labels(field)
        before = counted._value.get()
        collection().update_one({"user_id": "abc"}, {"$set": changes})

        body = send("GET", "/abc", **{"Cache-Control": "no-cache"}).json()

        assert {name: body[name] for name in expected} == expected
        assert (counted._value.get() > before) is (changes != {"version": 3.0})

    def test_a_store_that_is_away_in_between_loses_no_change(self, mongodb_restored, monkeypatch):
        """The change was seen, and MongoDB is away when the profile is read for its copy."""
        failures = [NotPrimaryError("away"), OperationalError("away")]
        update = services.mirror_update

        def away(*, user_id):
            if failures:
                raise failures.pop()
            update(user_id=user_id)

        monkeypatch.setattr(services, "mirror_update", away)
        with Running():
            edit()

            assert wait_until(lambda: email_in_mirror() == "edited@example.org", 30)
        assert not failures


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
        selectors.profile_read(user_id="abc").get()
        with connection.cursor() as cursor:
            cursor.execute(statement)
        outbox.deliver(also_not_due=True)

        assert not is_cached()

    def test_a_copy_of_a_profile_invalidates_nothing(self, made, settings):
        settings.PROFILE_BACKEND = "mongo"
        made()

        assert outbox.depth_and_age()[0] == 0
        assert email_in_mirror() == "abc@example.org"
