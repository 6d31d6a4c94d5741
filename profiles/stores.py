"""The interface of both profile stores, MongoDB and PostgreSQL."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, Protocol

from profiles.preferences import Preferences
from profiles.records import ProfileLine, ProfileRecord

StoreName = Literal["mongo", "postgres"]


class AlreadyExists(Exception):
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
        """Return the context of a write: it invalidates the tags, even after a crash inside it."""

    def get(self, user_id: str) -> ProfileRecord | None:
        """Return the profile."""

    def get_many(self, user_ids: Sequence[str]) -> Mapping[str, ProfileRecord]:
        """Return the profiles that exist, by user_id, with one request."""

    def create(self, profile: ProfileRecord) -> None:
        """Store a new profile. Raises AlreadyExists."""

    def replace(
        self,
        user_id: str,
        *,
        email: str,
        preferences: Preferences,
        now: datetime,
        if_version: int | None,
    ) -> ProfileRecord | None:
        """Replace email and preferences, and raise the version. Raises AlreadyExists."""

    def patch(
        self, user_id: str, *, patch: Preferences, now: datetime, if_version: int | None
    ) -> ProfileRecord | None:
        """
        Merge the patch into the preferences (RFC 7396), and raise the version.

        Raises PreferencesRejected if the result is too large; then nothing is changed.
        """

    def delete(self, user_id: str, *, if_version: int | None) -> bool:
        """Delete the profile."""

    def copy(self, profile: ProfileRecord) -> None:
        """
        Store this copy of a profile, unless a newer version is stored here.

        Raises AlreadyExists if another profile here has its address; it is copied all the same, but a
        search for that address does not return it.
        """

    def rekey(self, profile: ProfileRecord) -> None:
        """Update the profile's e-mail key after an edit that bypassed the service. Raises AlreadyExists."""

    def page(self, *, after: str, limit: int) -> Sequence[ProfileRecord]:
        """Return the profiles that follow a user_id, in the order of the user_ids."""

    def find(self, *, text: str, after: str, limit: int) -> Sequence[ProfileLine]:
        """
        Search the profiles that follow a user_id, in the order of the user_ids.

        Matches are those whose user_id begins with text, and the one whose email is text, compared
        without case; with an empty text, all.
        """

    def load(self, profiles: Sequence[ProfileRecord]) -> int:
        """Store those whose user_id and email are not stored yet; return how many were new."""

    def count(self) -> int:
        """Return about how many profiles there are, without reading them."""
