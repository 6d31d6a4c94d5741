"""The schemas of the activity responses."""

from rest_framework import serializers

from activity.actions import ACTIONS, RESOURCES
from activity.paging import MAX_LIMIT
from config.web.user_ids import USER_ID_PATTERN


class EventOutput(serializers.Serializer):
    """One thing that a user did."""

    id = serializers.RegexField("^[0-9a-f]{24}$")
    # Null: of another type, written past the service.
    user_id = serializers.RegexField(USER_ID_PATTERN, allow_null=True)
    action = serializers.ChoiceField(sorted(ACTIONS), allow_null=True)
    resource = serializers.ChoiceField(sorted(RESOURCES), allow_null=True)
    resource_id = serializers.CharField(allow_null=True)
    details = serializers.DictField()
    timestamp = serializers.DateTimeField()
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_null=True)


class EventList(serializers.Serializer):
    """The newest events."""

    results = EventOutput(many=True)


class EventPage(serializers.Serializer):
    """A page of a feed."""

    results = EventOutput(many=True)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class ActionCount(serializers.Serializer):
    """How often a user did something."""

    action = serializers.ChoiceField(sorted(ACTIONS), allow_null=True)
    count = serializers.IntegerField(min_value=1)


class ActivitySummary(serializers.Serializer):
    """What a user did, most frequent first."""

    results = ActionCount(many=True)


class DayActionCount(ActionCount):
    """How often a user did something on a day."""

    date = serializers.DateField()


class ActivityDaily(serializers.Serializer):
    """What a user did, newest day first, then most frequent first."""

    results = DayActionCount(many=True)


class TrendDay(serializers.Serializer):
    """How much was done on a day, and by how many."""

    date = serializers.DateField()
    total_activities = serializers.IntegerField(min_value=0)
    unique_users = serializers.IntegerField(min_value=0)


class ActivityTrend(serializers.Serializer):
    """Each day of the window, oldest first."""

    results = TrendDay(many=True)


class ResourceCount(serializers.Serializer):
    """How often something was used, and by how many."""

    resource = serializers.ChoiceField(sorted(RESOURCES), allow_null=True)
    resource_id = serializers.CharField(allow_null=True)
    count = serializers.IntegerField(min_value=1)
    unique_users = serializers.IntegerField(min_value=1)


class ActivityResources(serializers.Serializer):
    """What was used most, most frequent first."""

    results = ResourceCount(many=True)


class HourCount(serializers.Serializer):
    """How much was done in an hour of the week; weekday 1 is Monday."""

    weekday = serializers.IntegerField(min_value=1, max_value=7)
    hour = serializers.IntegerField(min_value=0, max_value=23)
    count = serializers.IntegerField(min_value=0)


class ActivityHours(serializers.Serializer):
    """Each of the 168 hours of the week."""

    results = HourCount(many=True)


class RetentionWeek(serializers.Serializer):
    """The users first active in a week, and how many of them were active 1, 2, ... weeks later."""

    week = serializers.DateField(help_text="The Monday.")
    users = serializers.IntegerField(min_value=0)
    returned = serializers.ListField(child=serializers.IntegerField(min_value=0), max_length=8)


class ActivityRetention(serializers.Serializer):
    """Each week of the window, oldest first."""

    results = RetentionWeek(many=True)
