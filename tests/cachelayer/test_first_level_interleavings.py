"""Every interleaving of the first level in a small model: it holds, and no simpler one does."""

import functools

import pytest

from tests.cachelayer import first_level_interleavings
from tests.cachelayer.first_level_interleavings import BROKEN, LEVEL, SCOPES

SMALL = SCOPES["small"]
explore = functools.cache(first_level_interleavings.explore)


def name(value):
    return getattr(value, "name", str(value))


class TestFirstLevel:
    @pytest.mark.parametrize(("protocol", "scope"), SMALL, ids=name)
    def test_holds_under_every_interleaving(self, protocol, scope):
        outcome = explore(protocol, scope)

        assert outcome.counterexample is None
        assert outcome.states > 800

    def test_the_exploration_comes_by_what_it_is_about(self):
        steps = set()
        for protocol, scope in SMALL:
            steps |= explore(protocol, scope).steps

        for step in (
            "a worker of 0 looks",
            "a worker of 0 hits 1 in Redis",
            "a worker of 0 stores 0",
            "a worker of 0 stores and keeps 1",
            "writer on 0 has no reply to its UNLINK",
            "writer on 0 sees that the lease is over",
            "writer on 0 sees that its row is gone",
            "writer on 0 has waited",
            "relay overwrites the slots",
            "keeper grants the lease",
            "writer on 1 need not wait for others",
            "host 0 is struck out",
            "listener 0 renews",
            "listener 0 was in the register no more",
            "listener 0 overwrites the slots and acknowledges",
            "listener 0 renews its first time",
        ):
            assert step in steps

    @pytest.mark.parametrize(("protocol", "scope"), BROKEN, ids=name)
    def test_a_variant_returns_a_stale_value(self, protocol, scope):
        assert explore(protocol, scope).counterexample

    def test_each_rule_has_a_variant_without_it(self):
        variants = {protocol for protocol, _ in BROKEN}
        fields = LEVEL.__dataclass_fields__.keys() - {"name"}

        for field in fields:
            assert any(not getattr(protocol, field) for protocol in variants), field
