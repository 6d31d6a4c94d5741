"""Every interleaving of the protocol in a small model: it holds, and the naive ones do not."""

import functools
from dataclasses import replace

import pytest

from tests.cachelayer import interleavings
from tests.cachelayer.interleavings import NAIVE, REAL, SAFE, SCOPES, SPLIT_LOOKS, WRITER, Scope

(SMALL,) = SCOPES["small"]
explore = functools.cache(interleavings.explore)


def named(protocol):
    return protocol.name


class TestProtocol:
    @pytest.mark.parametrize("protocol", SAFE, ids=named)
    def test_holds_under_every_interleaving_and_fault(self, protocol):
        outcome = explore(protocol, SMALL)

        assert outcome.counterexample is None
        assert outcome.states > 3_000

    @pytest.mark.parametrize("protocol", SPLIT_LOOKS, ids=named)
    def test_a_look_may_read_entry_and_stamps_one_after_the_other(self, protocol):
        outcome = explore(protocol, Scope((1, 1), (1,)))

        assert outcome.counterexample is None
        assert outcome.states > 3_000

    def test_the_exploration_comes_by_what_it_is_about(self):
        steps = " ".join(explore(REAL, SMALL).steps)

        for word in ("follows", "is refused", "crashes", "relay delivers", "lease lost", "FLUSH"):
            assert word in steps, word

    @pytest.mark.parametrize("protocol", NAIVE, ids=named)
    def test_a_naive_one_returns_a_stale_value(self, protocol):
        assert explore(protocol, SMALL).counterexample

    def test_the_checker_sees_a_writer_that_forgets_to_invalidate(self):
        write, commit, _ = WRITER

        assert explore(replace(REAL, writer=(write, commit)), SMALL).counterexample
