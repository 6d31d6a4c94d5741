"""
A breadth-first search through every state of a model, for a shortest counterexample.

Of a state that was reached only its hash is kept, of 64 bits: ten million states take a gigabyte
instead of fifty. Of two states with one hash the second counts as seen, and what only it leads to
is missed; were hashes random, there would be such a pair among n states with a probability of
n²/2^65, 3 in a million for ten million states. A counterexample is replayed, and never false.
"""

import gc
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, Protocol, TypeVar

PROGRESS_SECONDS = 60  # between two lines about a search that takes long


class State(Protocol):
    """A state of a model."""

    stale: bool  # a read returned less than it had to: the guarantee is broken


S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """What a search came upon; the counterexample is a shortest one, None if there is none."""

    states: int
    counterexample: tuple[str, ...] | None
    steps: set[str]  # all that happened anywhere
    seconds: float  # of processor time


def search(
    start: S,
    successors: Callable[[S], Iterator[tuple[str, S]]],
    likeness: Callable[[S], Hashable] = lambda state: state,
) -> Outcome:
    """
    Go through all states, nearest first, up to one in which the guarantee is broken.

    Successors yields what may happen next, in words, and the state after it. Likeness returns what
    is equal for states that need not be distinguished.
    """
    collects = gc.isenabled()
    gc.disable()  # states have no cycles, and it would go through all of them again and again
    try:
        return _search(start, successors, likeness)
    finally:
        if collects:
            gc.enable()


def _search(
    start: S,
    successors: Callable[[S], Iterator[tuple[str, S]]],
    likeness: Callable[[S], Hashable],
) -> Outcome:
    started = reported = time.process_time()
    first = hash(likeness(start))
    origin: dict[int, int] = {first: first}  # the state from which each was reached first
    steps: set[str] = set()
    level, depth = [(start, first)], 0
    while level:
        following_level: list[tuple[S, int]] = []
        for state, number in level:
            for words, following in successors(state):
                steps.add(words)
                if (key := hash(likeness(following))) in origin:
                    continue
                origin[key] = number
                if following.stale:
                    trace = _replayed(start, successors, likeness, _path(origin, key))
                    return Outcome(len(origin), trace, steps, time.process_time() - started)
                following_level.append((following, key))
        level, depth = following_level, depth + 1
        if time.process_time() - reported > PROGRESS_SECONDS:
            reported = time.process_time()
            sys.stderr.write(f"depth {depth}: {len(origin)} states, {len(level)} to go on from\n")
    return Outcome(len(origin), None, steps, time.process_time() - started)


def _path(origin: dict[int, int], last: int) -> list[int]:
    """Return the hashes of the states after the first, up to the last."""
    path: list[int] = []
    while origin[last] != last:
        path.append(last)
        last = origin[last]
    return path[::-1]


def _replayed(
    state: S,
    successors: Callable[[S], Iterator[tuple[str, S]]],
    likeness: Callable[[S], Hashable],
    path: list[int],
) -> tuple[str, ...]:
    trace: list[str] = []
    for number in path:
        words, state = next(
            (words, following)
            for words, following in successors(state)
            if hash(likeness(following)) == number
        )
        trace.append(words)
    return tuple(trace)


def report(name: str, outcome: Outcome) -> Outcome:
    """Print how many states there are, and the counterexample."""
    trace = outcome.counterexample
    result = "no counterexample" if trace is None else "; ".join(trace)
    sys.stdout.write(f"{name}: {outcome.states} states in {outcome.seconds:.0f} s: {result}\n")
    sys.stdout.flush()
    return outcome
