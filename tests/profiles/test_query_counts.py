"""How many statements and commands each endpoint of the profiles costs, whatever the number of them."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from profiles import seeding
from profiles.mongodb import MongoProfiles
from profiles.postgres import PostgresProfiles
from tests.builders import SEEDED_UNTIL
from tests.commands_sent import sent_by


@pytest.fixture(params=[1, 300])
def many(request) -> int:
    """So many profiles of other users, in both stores."""
    batches = seeding.batches(count=request.param + 1, seed=1, until=SEEDED_UNTIL)
    profiles = [profile for batch in batches for profile in batch if profile.user_id != "abc"]
    PostgresProfiles().load(profiles)
    MongoProfiles().load(profiles)
    return request.param


def cost(call) -> tuple[int, int]:
    """Return the statements that a call sends to PostgreSQL, and its commands to MongoDB."""
    with CaptureQueriesContext(connection) as captured:
        commands = sent_by(call)
    sent = [query["sql"] for query in captured.captured_queries]
    statements = [sql for sql in sent if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    return len(statements), commands


@pytest.mark.usefixtures("many")
class TestRead:
    def test_of_the_store_that_serves_is_one_query(self, send, made, backend):
        made()
        expected = (1, 0) if backend == "postgres" else (0, 1)

        assert cost(lambda: send("GET", "/abc?cache=false")) == expected
        assert cost(lambda: send("GET", "/nobody?cache=false")) == expected

    def test_of_a_cached_one_is_none(self, send, made, backend):
        made()
        send("GET", "/abc")

        assert cost(lambda: send("GET", "/abc")) == (0, 0)

    @pytest.mark.parametrize(("store", "expected"), [("mongo", (0, 1)), ("postgres", (1, 0))])
    def test_of_a_named_store_is_one_query(self, send, made, store, expected):
        made()

        assert cost(lambda: send("GET", f"/{store}/abc")) == expected


class TestWrite:
    """Each number is of both stores: the write, its copy, and the outbox around them."""

    def costs(self, send) -> dict[str, tuple[int, int]]:
        body = {"user_id": "abc", "email": "abc@example.org"}
        changed = {"email": "ann@example.org", "preferences": {"theme": "dark"}}
        return {
            "create": cost(lambda: send("POST", "", body)),
            "replace": cost(lambda: send("PUT", "/abc", changed)),
            "patch": cost(lambda: send("PATCH", "/abc/preferences", {"theme": "light"})),
            "delete": cost(lambda: send("DELETE", "/abc")),
        }

    def test_costs_the_same_whatever_the_number_of_profiles(self, send, backend):
        few = self.costs(send)
        profiles = [
            profile
            for batch in seeding.batches(count=400, seed=1, until=SEEDED_UNTIL)
            for profile in batch[1:]
        ]
        PostgresProfiles().load(profiles)
        MongoProfiles().load(profiles)

        assert self.costs(send) == few

    def test_of_mongodb_is_an_intent_its_command_and_a_copy(self, send, served, settings):
        settings.PROFILE_BACKEND = "mongo"

        assert self.costs(send) == {
            "create": (2, 1),
            "replace": (2, 1),
            "patch": (2, 1),
            "delete": (2, 1),
        }
