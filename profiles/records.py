"""A profile as plain values, and as the JSON that is sent."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from cachelayer.http import Representation, represent
from profiles import preferences


def _plain(value: Any) -> Any:
    """Return the JSON value of a BSON-only type; all but Int64 come from edits that bypass the service."""
    return int(value) if isinstance(value, int) else str(value)


_json = msgspec.json.Encoder(enc_hook=_plain)


class Metadata(msgspec.Struct, frozen=True):
    """When the profile was created, changed, and last used. UTC, to the millisecond."""

    created_at: datetime
    updated_at: datetime
    last_login: datetime | None = None


class ProfileRecord(msgspec.Struct, frozen=True):
    """A profile: the API's fields, in the API's order. preferences as they are stored."""

    user_id: str
    email: str
    preferences: dict[str, Any]
    metadata: Metadata
    version: int


class ProfileLine(msgspec.Struct, frozen=True):
    """What a list shows of a profile; theme and language with their defaults, as they are sent."""

    user_id: str
    email: str
    theme: Any
    language: Any
    version: int
    updated_at: datetime


def line(profile: ProfileRecord) -> ProfileLine:
    """Return what a list shows of a profile, of which the other preferences may be left out."""
    chosen = preferences.completed(profile.preferences)
    return ProfileLine(
        user_id=profile.user_id,
        email=profile.email,
        theme=chosen["theme"],
        language=chosen["language"],
        version=profile.version,
        updated_at=profile.metadata.updated_at,
    )


def representation(profile: ProfileRecord) -> Representation:
    """Return the profile's JSON, with the defaults of what the user has not chosen, and its ETag."""
    chosen = preferences.completed(profile.preferences)
    return represent(_json.encode(msgspec.structs.replace(profile, preferences=chosen)))


def now() -> datetime:
    """Return the time to the millisecond."""
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(time: datetime) -> datetime:
    """Return the time truncated to milliseconds, the precision of MongoDB."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
