"""How many commands each endpoint sends to MongoDB, whatever the number of events."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.builders import make_event
from tests.commands_sent import sent_by

# The aggregations ask by a ping first whether MongoDB is there (activity.analytics).
COMMANDS = {
    "recent": 1,
    "abc": 1,
    "abc?action=note_viewed&limit=100": 1,
    "abc/summary": 2,
    "abc/daily": 2,
    "trend": 2,
    "insights/resources": 2,
    "insights/hours": 2,
    "insights/retention": 2,
}


@pytest.mark.django_db
class TestEachEndpoint:
    @pytest.mark.parametrize("events", [1, 150])
    @pytest.mark.parametrize(("path", "commands"), COMMANDS.items())
    def test_sends_the_same_few_commands_whatever_the_number_of_events(
        self, api, django_assert_num_queries, path, commands, events
    ):
        now = timezone.now()
        for minutes in range(events):
            make_event(now - timedelta(minutes=minutes), user_id="abc")

        with django_assert_num_queries(0):
            sent = sent_by(lambda: api.get(f"/api/v1/activity/{path}"))

        assert sent == commands

    @pytest.mark.parametrize("tied", [2, 60])
    def test_a_page_whose_end_cuts_through_ties_is_one_more(self, api, tied):
        moment = timezone.now().replace(microsecond=0)
        for _ in range(tied):
            make_event(moment, user_id="abc")

        assert sent_by(lambda: api.get("/api/v1/activity/abc?limit=1")) == 2
