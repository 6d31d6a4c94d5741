"""The one interface behind which profiles live, in MongoDB or in PostgreSQL."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, Protocol

from profiles.preferences import Preferences
from profiles.records import ProfileLine, ProfileRecord

StoreName = Literal["mongo", "postgres"]


class Taken(Exception):
    """Another profile has this user_id or email already; field says which."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Another profile has this {field} already.")
        self.field = field


class ProfileStore(Protocol):
    """
    Profiles by user_id. Every change is one atomic step in the store.

    if_version makes a change depend on the version that the profile has: where it has another,
    or there is none, nothing is changed and None (or False) is returned. Each method raises the
    driver's error where the store does not answer.
    """

    def writing(self, tags: Sequence[str]) -> AbstractContextManager[object]:
        """Return the block for one write: it invalidates the tags, also after a crash within."""

    def get(self, user_id: str) -> ProfileRecord | None:
        """Return the profile."""

    def get_many(self, user_ids: Sequence[str]) -> Mapping[str, ProfileRecord]:
        """Return those profiles that there are, by user_id, with one request."""

    def create(self, profile: ProfileRecord) -> None:
        """Store a new profile. Raises Taken."""

    def replace(
        self,
        user_id: str,
        *,
        email: str,
        preferences: Preferences,
        now: datetime,
        if_version: int | None,
    ) -> ProfileRecord | None:
        """Replace email and preferences, and raise the version. Raises Taken."""

    def patch(
        self, user_id: str, *, patch: Preferences, now: datetime, if_version: int | None
    ) -> ProfileRecord | None:
        """
        Merge the patch into the preferences (RFC 7396), and raise the version.

        Raises PreferencesRejected where the result is too large; then nothing is changed.
        """

    def delete(self, user_id: str, *, if_version: int | None) -> bool:
        """Delete the profile."""

    def copy(self, profile: ProfileRecord) -> None:
        """
        Make the profile here the same, unless it is here in a newer version.

        Raises Taken where another profile has its address here; it is copied all the same, but not
        found by that address.
        """

    def rekey(self, profile: ProfileRecord) -> None:
        """Have the profile found by its address, where an edit past the service changed it. Raises Taken."""

    def page(self, *, after: str, limit: int) -> Sequence[ProfileRecord]:
        """Return the profiles that follow a user_id, in the order of the user_ids."""

    def find(self, *, text: str, after: str, limit: int) -> Sequence[ProfileLine]:
        """
        Return the profiles found that follow a user_id, in the order of the user_ids.

        Found are those whose user_id begins with text, and the one whose email is text, compared
        without case; with an empty text, all.
        """

    def load(self, profiles: Sequence[ProfileRecord]) -> int:
        """Store those whose user_id and email are not there yet; return how many that were."""

    def count(self) -> int:
        """Return about how many profiles there are, without reading them."""
