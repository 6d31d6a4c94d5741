"""PostgreSQL as the site reaches it: through a pool, with deadlines; started again after the test. A profile."""

import copy

import pytest
from django.db import connection, connections

from config.postgres import outages
from config.postgres.base import DatabaseWrapper
from config.postgres.deadlines import DeadlineConnection
from profiles import services as profiles
from profiles.documents import UserProfile
from profiles.models import ProfileRow


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


@pytest.fixture
def profile(transactional_db) -> str:
    """The only profile; its user id, with all that may be in one."""
    UserProfile.ensure_indexes()
    UserProfile._get_collection().delete_many({})
    ProfileRow.objects.all().delete()
    user_id = "a.b_c-d@e:f"
    profiles.profile_create(
        user_id=user_id, email="abc@example.org", preferences={}, caller=user_id
    )
    return user_id
