"""The advice as text for a terminal."""

from collections.abc import Iterator
from typing import Final

from config.advisor.advice import Advice, Proposal
from config.explain.timing import kib, ms

_TITLES: Final = {"postgres": "PostgreSQL", "mongodb": "MongoDB"}
_STATEMENT_CHARACTERS: Final = 400
_NOTHING_RAN: Final = {
    "postgres": "No statements on these tables have been recorded yet: use the site, then run this again.",
    "mongodb": "system.profile has no commands on these collections: --profile-seconds 30 has MongoDB "
    "record what runs for 30 seconds.",
}
_DECLARED_IN: Final = {"postgres": "Meta.indexes of the model", "mongodb": 'meta["indexes"]'}


def lines(advice: Advice) -> Iterator[str]:
    """Yield the lines of the advice on one store."""
    yield f"{_TITLES[advice.store]}: {advice.statements} statements, by {advice.source}"
    if not advice.statements:
        yield f"  {_NOTHING_RAN[advice.store]}"
    else:
        yield f"  {advice.threshold}"
    for proposal in advice.proposals:
        yield from _proposal(proposal)
    if advice.statements and not advice.proposals:
        yield "  No other index pays off."
    for flagged in advice.flagged:
        yield f"  {flagged.kind}: {flagged.table}.{flagged.name} ({kib(flagged.size_bytes)}): {flagged.why}"
    for refused in advice.refused:
        yield f"  not proposed: {refused.what}: {refused.why}"
    for left_out in advice.left_out:
        yield f"  left out: {left_out.what}: {left_out.why}"


def _proposal(proposal: Proposal) -> Iterator[str]:
    took_ms = sum(gain.stats.calls * gain.without.ms for gain in proposal.gains)
    yield f"  create: {proposal.text}, saves {ms(proposal.saved_ms)} of {ms(took_ms)}"
    for gain in proposal.gains:
        yield f"    {gain.stats.calls} x {gain.stats.name}: {gain.text}"
        if gain.stats.endpoints:
            yield f"      {gain.stats.statement[:_STATEMENT_CHARACTERS]}"
    cost = "" if proposal.cost is None else f", {proposal.cost.text}"
    yield f"    costs {kib(proposal.size_bytes)}{cost}"
    for name in proposal.makes_redundant:
        yield f"    {name} would be redundant beside it"
    yield f"    into {_DECLARED_IN[proposal.store]}: {proposal.line}"
