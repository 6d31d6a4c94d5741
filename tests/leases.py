"""Waiting for a lease of the cache: after an outage reads are served from it only under a new one."""

import pytest
import redis

from cachelayer import client, trust
from config.stack.process import wait_until


def is_trusted() -> bool:
    """Whether this process believes the Redis that it reaches now."""
    try:
        client.ping()
    except redis.RedisError:
        return False
    return not client.breaker.is_open and trust.lease.counts(client.replied())


def trusted_again() -> bool:
    """Wait until it does, which takes 1.5 s and a look where Redis was restarted."""
    return wait_until(is_trusted, 30)


def without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process hold no lease until the end of the test, whatever is renewed."""
    lapsed = property(lambda lease: 0.0, lambda lease, deadline: None)
    monkeypatch.setattr(trust.Lease, "deadline", lapsed, raising=False)
