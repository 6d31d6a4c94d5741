"""
An empty collection for each test, with its indexes.

MongoDB deletes events past their retention at any moment: those in tests are of the last weeks, or to come.
"""

import pytest

from activity.documents import ActivityEvent


@pytest.fixture(autouse=True)
def _empty() -> None:
    ActivityEvent.ensure_indexes()  # another test may have dropped the collection
    ActivityEvent._get_collection().delete_many({})
