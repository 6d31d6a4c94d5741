"""The filter form above the list of events, and its errors."""

from typing import Any, Final

from django import forms

from activity.actions import ACTIONS, RESOURCES, actions_of
from activity.paging import FeedQuery
from activity.time_window import END, YEARS, Moment, Window, parse_moment
from config.web.user_ids import USER_ID_PATTERN, USER_ID_RULE

EVENTS_A_PAGE: Final = 50


class MomentField(forms.CharField):
    """A time in UTC, or the beginning of a day; another offset is accepted."""

    widget = forms.DateTimeInput({"type": "datetime-local", "step": 1}, "%Y-%m-%dT%H:%M:%S")

    def clean(self, value: Any) -> Moment | None:
        """Return the time. Raises ValidationError."""
        text = super().clean(value)
        if not text:
            return None
        moment = parse_moment(text, is_typed=True)
        if moment is None:
            raise forms.ValidationError(
                f"{text} is not a time such as 2026-01-31 23:59 (UTC), or a date."
            )
        if moment.second.year not in YEARS:
            raise forms.ValidationError(f"Must lie in {YEARS[0]} to {YEARS[-1]}.")
        return moment


class EventFilters(forms.Form):
    """The filters; an empty field filters nothing."""

    user = forms.RegexField(
        USER_ID_PATTERN,
        strip=True,
        required=False,
        label="user",
        error_messages={"invalid": f"Must be {USER_ID_RULE}"},
        widget=forms.TextInput({"placeholder": "all", "size": 14}),
    )
    action = forms.ChoiceField(
        choices=[("", "all"), *((action, action) for action in sorted(ACTIONS))],
        required=False,
        label="action",
    )
    resource = forms.ChoiceField(
        choices=[("", "all"), *((resource, resource) for resource in sorted(RESOURCES))],
        required=False,
        label="resource",
    )
    since = MomentField(required=False, label="since (UTC)")
    until = MomentField(required=False, label="until (UTC)")

    def clean(self) -> dict[str, Any]:
        """Refuse combinations that no event can have."""
        cleaned = self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until <= since:
            self.add_error("until", "Must be after since.")
        for name, moment in (("since", since), ("until", until)):
            bound = moment and moment.bound()
            if name == "since" and bound == END:  # rounded up from the last second of all
                self.add_error(name, f"Must be before {END:%Y-%m-%d}.")
            # No end is the same, and the field would not take it again.
            cleaned[name] = None if bound == END else bound
        action, resource = cleaned.get("action"), cleaned.get("resource")
        if action and resource and action not in actions_of(resource):
            self.add_error("resource", f"{action} is never about a {resource}.")
        return cleaned

    def query(self) -> FeedQuery:
        """Return the first page of the events that a valid form selects."""
        cleaned = self.cleaned_data
        return FeedQuery(
            user_id=cleaned["user"] or None,
            action=cleaned["action"] or None,
            resource=cleaned["resource"] or None,
            window=Window(since=cleaned["since"], until=cleaned["until"]),
            limit=EVENTS_A_PAGE,
        )
