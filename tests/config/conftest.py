"""PostgreSQL as the site reaches it: through a pool, with deadlines; started again after the test."""

import copy

import pytest
from django.db import connection, connections

from config.postgres import outages
from config.postgres.base import DatabaseWrapper
from config.postgres.deadlines import DeadlineConnection


@pytest.fixture
def restored(stack):
    yield stack
    stack.up()
    connection.close()


@pytest.fixture
def pooled(restored):
    """A connection as the site has it, beside the tests' own."""
    connections["default"].close()
    settings_dict = copy.deepcopy(connections["default"].settings_dict)
    settings_dict["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": 2,
        "timeout": 10,
        "connection_class": DeadlineConnection,
    }
    wrapper = DatabaseWrapper(settings_dict, "default")
    yield wrapper
    wrapper.close()
    wrapper.close_pool()
    outages.breaker.reset()
    outages.writing.reset()


@pytest.fixture
def site(pooled):
    """The tests' requests go through the pool, too."""
    own = connections["default"]
    connections["default"] = pooled
    yield pooled
    connections["default"] = own
