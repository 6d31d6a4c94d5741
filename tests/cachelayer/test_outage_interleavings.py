"""Every interleaving of the trust lease in a small model: it holds, and no simpler one does."""

import functools

import pytest

from tests.cachelayer import outage_interleavings
from tests.cachelayer.outage_interleavings import BROKEN, INTENTS, LEASE, SCOPES

SMALL = SCOPES["small"]
explore = functools.cache(outage_interleavings.explore)


def name(value):
    return getattr(value, "name", str(value))


class TestLease:
    @pytest.mark.parametrize(("protocol", "scope"), SMALL, ids=name)
    def test_holds_under_every_interleaving_and_fault(self, protocol, scope):
        outcome = explore(protocol, scope)

        assert outcome.counterexample is None
        assert outcome.states > 2_000

    def test_the_exploration_comes_by_what_it_is_about(self):
        steps = set()
        for protocol, scope in SMALL:
            steps |= explore(protocol, scope).steps

        for step in (
            "writer confirms row 1, answers",
            "row 1 is deleted",
            "writer sees that its row is gone, answers",
            "writer sees that the lease is over, answers",
            "writer has waited, answers",
            "writer answers 503",
            "relay confirms row 1",
            "relay delivers an intent on Redis 0",
            "reader stores 0 on Redis 1",
            "reader checks the lease for Redis 0 (answered: 1)",
            "reader checks the lease for Redis 1 (answered: 1)",
            "the replica is promoted",
            "Redis 0 follows",
            "keeper starts a new epoch on Redis 1",
            "keeper grants 2 ticks for Redis 1",
            "keeper gives up",
        ):
            assert step in steps

    @pytest.mark.parametrize(("protocol", "scope"), BROKEN, ids=name)
    def test_a_variant_returns_a_stale_value(self, protocol, scope):
        assert explore(protocol, scope).counterexample

    def test_each_rule_has_a_variant_without_it(self):
        variants = {protocol for protocol, _ in BROKEN}
        fields = LEASE.__dataclass_fields__.keys() - {"name", "intents"}

        for field in fields:
            assert any(not getattr(protocol, field) for protocol in variants), field
        assert INTENTS.intents
