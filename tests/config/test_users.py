"""Renaming a user over the profile and its events: all or nothing."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pymongo.errors import AutoReconnect, OperationFailure

from activity import services as activity
from activity.documents import ActivityEvent
from activity.shipper import Shipper
from config import users as users_module
from config.management.commands import seed
from profiles import backends, cache_keys
from profiles import services as profiles
from profiles.documents import UserProfile
from profiles.models import ProfileRow
from profiles.stores import AlreadyExists
from tests.builders import make_event

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _mongodb_serves(settings) -> None:
    settings.PROFILE_BACKEND = "mongo"


@pytest.fixture(autouse=True)
def _one_profile_and_its_events(transactional_db) -> None:
    UserProfile.ensure_indexes()
    ActivityEvent.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    ActivityEvent._get_collection().delete_many({})
    ProfileRow.objects.all().delete()
    profiles.profile_create(user_id="abc", email="a@example.org", preferences={}, caller="abc")
    for user in ("abc", "abc", "xyz"):
        make_event(user_id=user)


def rename(old: str = "abc", new: str = "new") -> str:
    out = StringIO()
    call_command("rename_user", old, new, stdout=out)
    return out.getvalue()


def users() -> list[str]:
    return sorted(row["user_id"] for row in ActivityEvent._get_collection().find())


class TestRename:
    def test_refuses_what_no_store_can_hold(self):
        with pytest.raises(CommandError, match=r"^'\\udcff': is not UTF-8"):
            rename(old="\udcff")  # what Python makes of the byte ff in an argument

    def test_takes_the_profile_its_events_and_its_mirror_along(self, api, redis_client):
        assert api.get("/api/v1/profiles/abc").status_code == 200
        assert api.get("/api/v1/profiles/new").status_code == 404  # both are cached now
        Shipper(activity.own_spool()).ship()  # the first of these is an event of abc, too

        assert rename() == "Renamed abc to new: the profile and 3 events.\n"

        assert not redis_client.exists(cache_keys.profile("abc").entry_name)

        assert api.get("/api/v1/profiles/abc").status_code == 404
        assert api.get("/api/v1/profiles/new").json()["version"] == 2
        assert users() == ["new", "new", "new", "xyz"]
        assert list(ProfileRow.objects.values_list("user_id", flat=True)) == ["new"]

    def test_where_the_events_fail_the_profile_stays(self, monkeypatch):
        def fail(**_: object) -> int:
            raise users_module.CannotRename("on purpose")

        monkeypatch.setattr(activity, "events_rename", fail)

        with pytest.raises(CommandError, match="on purpose"):
            rename()

        assert backends.primary().get("abc") is not None
        assert backends.primary().get("new") is None
        assert users() == ["abc", "abc", "xyz"]

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("nobody", "new", "no profile of nobody"),
            ("abc", "xyz", "has events already"),
            ("abc", "a b", "must be"),
            ("abc", "mongo", "reserved"),
        ],
    )
    def test_says_why_it_cannot(self, old, new, reason):
        with pytest.raises(CommandError, match=reason):
            rename(old, new)

        assert users() == ["abc", "abc", "xyz"]

    def test_a_user_that_has_a_profile_is_not_overwritten(self):
        profiles.profile_create(user_id="new", email="n@example.org", preferences={}, caller="new")

        with pytest.raises(CommandError, match="user_id already"):
            rename()

        assert users() == ["abc", "abc", "xyz"]

    def test_not_while_events_wait(self):
        activity.own_spool().append({"user_id": "abc"})

        with pytest.raises(CommandError, match="Events in the spool"):
            rename()

    @pytest.mark.parametrize("spool", ["unreadable_spool", "forbidden_segment"])
    def test_not_while_events_may_wait_that_this_account_may_not_read(self, request, spool):
        request.getfixturevalue(spool)

        with pytest.raises(CommandError, match=r"may hold events of abc, cannot be read: .*$"):
            rename()

        assert users() == ["abc", "abc", "xyz"]

    def test_not_more_than_a_transaction_holds(self, monkeypatch):
        monkeypatch.setattr(users_module, "EVENTS_MAX", 1)

        with pytest.raises(CommandError, match="more than 1 events"):
            rename()

    def test_not_where_the_stores_share_no_transaction(self, settings):
        settings.PROFILE_BACKEND = "postgres"

        with pytest.raises(CommandError, match="shares no transaction"):
            rename()

    def fail(self, monkeypatch, failure: BaseException, *, of: str) -> None:
        def failing(*args: object, **named: object) -> None:
            raise failure

        monkeypatch.setattr(of, failing)

    @pytest.mark.parametrize(
        "failure", [OperationalError("away"), AutoReconnect("away"), AlreadyExists("email")]
    )
    @pytest.mark.parametrize(
        "of", ["profiles.services.mirror_update", "cachelayer.invalidation._Delivery.__call__"]
    )
    def test_a_failure_after_the_commit_is_no_failure_to_rename(self, monkeypatch, failure, of):
        self.fail(monkeypatch, failure, of=of)

        said = rename()

        assert said.startswith("abc was renamed to new, with all events, but")
        assert "run manage.py copy_profiles: " in said
        assert users() == ["new", "new", "xyz"]

    @pytest.mark.parametrize(
        ("of", "outcome"),
        [
            ("activity.selectors.event_count_of", "nothing was renamed"),
            ("profiles.services.mirror_update", "abc was renamed to new"),
            ("cachelayer.invalidation._Delivery.__call__", "abc was renamed to new"),
            (
                "pymongo.client_session.ClientSession.commit_transaction",
                "it is not known whether abc was renamed",
            ),
        ],
    )
    def test_an_interruption_says_what_was_done(self, monkeypatch, capsys, of, outcome):
        self.fail(monkeypatch, KeyboardInterrupt(), of=of)

        with pytest.raises(SystemExit) as stopped:
            rename()

        assert stopped.value.code == 130
        assert f"Interrupted: {outcome}" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("of", "outcome"),
        [
            ("activity.services.events_rename", "nothing was renamed: away"),
            (
                "pymongo.client_session.ClientSession.commit_transaction",
                "not known whether abc was renamed; .* has a profile now: away",
            ),
        ],
    )
    def test_a_failure_before_it_says_what_is_known(self, monkeypatch, of, outcome):
        self.fail(monkeypatch, OperationFailure("away"), of=of)

        with pytest.raises(CommandError, match=outcome):
            rename()


class TestSeed:
    def test_fills_every_store_with_the_same_users(self, monkeypatch):
        monkeypatch.setitem(seed.SIZES, "small", seed.Size(notes=200, users=20, events=500, days=5))
        UserProfile._get_collection().delete_many({})
        out = StringIO()

        call_command("seed", size="small", stdout=out)

        known = {row["user_id"] for row in UserProfile._get_collection().find()}
        assert "200 notes" in out.getvalue()
        assert len(known) == 20
        seeded = set(users()) - {"xyz"}
        assert seeded <= known
        call_command("seed", size="small", if_empty=True, stdout=out)
        assert out.getvalue().count("already") == 3
