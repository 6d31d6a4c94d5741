"""
What a queue before a pool does, by arithmetic: clients that ask again at once, first come first
served, each holding its connection so long on average.

Of all clients, pool are served and the others wait. A connection becomes free every hold / pool,
so who comes last waits (clients - pool) / pool x hold. Nobody gives up while that is less than
the acquire timeout: up to a hold of timeout x pool / (clients - pool), the break point. Beyond it
the pool still serves pool / hold a second; those served have waited for nearly the timeout, as
those have who give up, and by Little's law clients - pool = timeout x (served + given up a
second). So the part that gives up is 1 - break point / hold.

Connections are assumed to become free evenly. Equal holds that began together end together, in batches
of the pool's size, and then some fail a little earlier; so the experiment varies the holds.
"""


def break_point_ms(*, clients: int, pool: int, acquire_ms: float) -> float:
    """Return how long each may hold its connection before the first gives up waiting."""
    if clients <= pool:
        return float("inf")
    return acquire_ms * pool / (clients - pool)


def failure_ratio(hold_ms: float, *, clients: int, pool: int, acquire_ms: float) -> float:
    """Return which part of the requests gives up waiting."""
    most = break_point_ms(clients=clients, pool=pool, acquire_ms=acquire_ms)
    return max(0.0, 1 - most / hold_ms)


def latency_ms(hold_ms: float, *, clients: int, pool: int) -> float:
    """Return the latency of a request, its wait included, while no client gives up."""
    return hold_ms * max(1.0, clients / pool)
