"""Each test has its own cache: a key prefix of its own, on the real Redis."""

import itertools
import os
from collections.abc import Iterator

import pytest
import redis
from django.db import connections
from django.test import Client

from cachelayer import client
from config import mongodb
from config.stack import Stack
from config.stack.process import wait_until

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(settings) -> None:
    settings.CACHE_PREFIX = f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture(autouse=True)
def _own_activity_spool(settings, tmp_path) -> None:
    settings.ACTIVITY_SPOOL_DIR = str(tmp_path / "spool")


@pytest.fixture
def redis_client() -> redis.Redis:
    """The connection that the cache itself uses."""
    return client.client()


@pytest.fixture
def api() -> Client:
    """A client of the API who is user abc."""
    return Client(headers={"X-User-Id": "abc"}, raise_request_exception=False)


@pytest.fixture
def closed_breaker() -> Iterator[None]:
    """Leave the breaker closed for the next test."""
    yield
    client.breaker.reset()


@pytest.fixture
def mongodb_restored(stack) -> Iterator[Stack]:
    """The servers, of which the test may kill and pause MongoDB; trusted again for the next one."""
    yield stack
    stack.up()
    assert wait_until(lambda: not mongodb.breaker.is_open, 10)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup) -> Iterator[None]:
    yield
    for connection in connections.all():
        connection.close()
