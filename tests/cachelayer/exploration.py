"""A breadth-first search through every state of a model, for a shortest counterexample."""

import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, Protocol, TypeVar


class State(Protocol):
    """A state of a model."""

    stale: bool  # a read returned less than it had to: the guarantee is broken


S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """What a search came upon; the counterexample is a shortest one, None if there is none."""

    states: int
    counterexample: tuple[str, ...] | None
    steps: set[str]  # all that happened anywhere
    seconds: float


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
    started = time.monotonic()
    first = likeness(start)
    origin: dict[Hashable, tuple[Hashable, str]] = {first: (None, "")}
    steps: dict[str, str] = {}
    waiting = deque([(start, first)])
    trace = None
    while waiting and not trace:
        state, state_key = waiting.popleft()
        for words, following in successors(state):
            step = steps.setdefault(words, words)
            if (key := likeness(following)) in origin:
                continue
            origin[key] = (state_key, step)
            if following.stale:
                trace = _trace(origin, key)
                break
            waiting.append((following, key))
    return Outcome(len(origin), trace, set(steps), time.monotonic() - started)


def _trace(origin: dict[Hashable, tuple[Hashable, str]], last: Hashable) -> tuple[str, ...]:
    trace: list[str] = []
    while last is not None:
        last, step = origin[last]
        trace.append(step)
    return tuple(reversed(trace[:-1]))


def report(name: str, outcome: Outcome) -> Outcome:
    """Print how many states there are, and the counterexample."""
    trace = outcome.counterexample
    result = "no counterexample" if trace is None else "; ".join(trace)
    sys.stdout.write(f"{name}: {outcome.states} states in {outcome.seconds:.0f} s: {result}\n")
    sys.stdout.flush()
    return outcome
