"""Which MongoDB indexes a lookup needs, and when an existing one already serves."""

import pytest

from config.advisor import mongodb_profiler
from config.advisor.mongodb_candidates import MongoCandidate, candidates_for, find_serving_index
from config.advisor.mongodb_profiler import Lookup


def lookup(match, sort=(), **changes) -> Lookup:
    return Lookup(collection="logs", match=match, sort=dict(sort), **changes)


class TestCandidatesFor:
    @pytest.mark.parametrize(
        ("requested", "keys"),
        [
            (
                lookup({"user": "a", "at": {"$lt": 1}}, [("at", -1)]),
                ["user:1 at:-1", "user:1"],
            ),
            (
                lookup({"$and": [{"user": {"$in": [1]}}, {"size": {"$gte": 1}}]}, [("at", -1)]),
                ["user:1 at:-1 size:1", "user:1 at:-1", "user:1 size:1", "user:1"],
            ),
            (lookup({}, [("at", -1)]), ["at:-1"]),
            (lookup({"$or": [{"a": 1}], "b": {"$ne": 1}}), []),
            (lookup({"_id": 1}), []),
        ],
    )
    def test_puts_equality_first_then_the_sort_then_a_range(self, requested, keys):
        made = {
            " ".join(f"{field}:{side}" for field, side in candidate.keys)
            for candidate in candidates_for(requested)
        }

        assert made == set(keys)

    def test_keeps_the_collation(self):
        [made] = set(
            candidates_for(lookup({"email": "x"}, collation={"locale": "en", "strength": 2}))
        )

        assert made.options == {"collation": {"locale": "en", "strength": 2}}
        assert made.name == "email_collated"


class TestFindServingIndex:
    CANDIDATE = MongoCandidate(collection="logs", keys=(("user", 1), ("at", -1)), equal=1)

    @pytest.mark.parametrize(
        ("details", "serves"),
        [
            ({"key": [("user", 1), ("at", -1)]}, True),
            ({"key": [("user", -1), ("at", 1), ("size", 1)]}, True),  # backwards, and longer
            ({"key": [("user", 1), ("at", 1)]}, False),
            ({"key": [("user", 1)]}, False),
            ({"key": [("user", 1)], "unique": True}, True),  # one document at the most
            ({"key": [("at", 1)], "unique": True}, False),  # that one is not compared by =
            ({"key": [("user", 1), ("at", -1)], "hidden": True}, False),
            ({"key": [("user", 1), ("at", -1)], "partialFilterExpression": {}}, False),
            ({"key": [("user", 1), ("at", -1)], "collation": {"locale": "en"}}, False),
            ({"key": [("_fts", "text")]}, False),
        ],
    )
    def test_is_an_index_with_that_prefix_or_a_unique_one(self, details, serves):
        assert find_serving_index(self.CANDIDATE, {"there": details}) == (
            "there" if serves else None
        )


class TestLine:
    def test_is_what_a_document_of_mongoengine_declares(self):
        candidate = MongoCandidate(collection="logs", keys=(("user_id", 1), ("timestamp", -1)))

        assert (
            candidate.line == '{"name": "user_id_timestamp", "fields": ["user_id", "-timestamp"]},'
        )


class TestLookup:
    @pytest.mark.parametrize(
        ("command", "op", "match"),
        [
            ({"find": "logs", "filter": {"a": 1}, "sort": {"b": 1}}, "query", {"a": 1}),
            ({"findAndModify": "logs", "query": {"a": 1}}, "command", {"a": 1}),
            ({"q": {"a": 1}, "u": {}}, "update", {"a": 1}),
            ({"q": {"a": 1}, "limit": 0}, "remove", {"a": 1}),
            ({"aggregate": "logs", "pipeline": [{"$match": {"a": 1}}]}, "command", {"a": 1}),
            ({"aggregate": "logs", "pipeline": [{"$group": {}}]}, "command", None),
            (
                {"aggregate": "logs", "pipeline": [{"$match": {}}, {"$out": "other"}]},
                "command",
                None,
            ),
            ({"$truncated": "{ find: ..."}, "query", None),
            ({"explain": {"find": "logs", "filter": {}}}, "command", None),
            ({"getMore": 1}, "getmore", None),
        ],
    )
    def test_is_the_lookup_of_a_command(self, command, op, match):
        parsed = mongodb_profiler.parse_lookup("logs", {"op": op, "command": command})

        assert (None if parsed is None else parsed.match) == match
