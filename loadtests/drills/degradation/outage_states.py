"""The states that the stores are brought into: killed, each with each, and paused one at a time."""

import itertools
from dataclasses import dataclass
from typing import Final

STORES: Final = {"redis": "Redis", "postgres": "PostgreSQL", "mongodb": "MongoDB"}


@dataclass(frozen=True)
class State:
    """Which stores do not answer: those that were killed, and one that was paused."""

    killed: frozenset[str] = frozenset()
    paused: str = ""

    @property
    def away(self) -> frozenset[str]:
        return self.killed | ({self.paused} if self.paused else frozenset())

    @property
    def label(self) -> str:
        """Return a name that can begin a user id."""
        return f"paused-{self.paused}" if self.paused else "-".join(["down", *sorted(self.killed)])


def _killed(*stores: str) -> State:
    return State(frozenset(stores))


UP: Final = _killed()
# In each group the copies that its states need are made at its beginning, while all stores answer.
# A state in which clearing the cache works is the last of its group that has Redis; where Redis
# is away nothing cached can be seen anyway. Neighbours differ by one store, to save restarts.
GROUPS: Final = (
    (UP,),
    (_killed("postgres"), _killed("postgres", "mongodb"), _killed("mongodb")),
    (
        *(State(paused="postgres"), State(paused="mongodb"), State(paused="redis")),
        *(_killed("redis"), _killed("redis", "mongodb")),
        *(_killed("redis", "mongodb", "postgres"), _killed("redis", "postgres")),
    ),
)
# In the order of the tables.
STATES: Final = (
    UP,
    *(_killed(store) for store in STORES),
    *(_killed(*pair) for pair in itertools.combinations(STORES, 2)),
    _killed(*STORES),
    *(State(paused=store) for store in STORES),
)
