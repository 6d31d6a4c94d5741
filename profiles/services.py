"""Writes of profiles, and their errors. Each is one atomic step in its store, and invalidates."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError
from pymongo.errors import PyMongoError

from cachelayer.http import UNCONDITIONAL, PreconditionFailed, Preconditions, Representation
from profiles import backends, cache_keys, mongodb, records
from profiles.emails import check_email
from profiles.preferences import Preferences, canonical
from profiles.records import Metadata, ProfileRecord
from profiles.stores import AlreadyExists, ProfileStore

log = structlog.get_logger("profiles")

_BATCH = 500


class Compared(NamedTuple):
    """A batch of profiles that were compared with their copies."""

    profiles: int
    refused: int  # by the other store, which cannot hold what they contain


class ProfileNotFound(Exception):
    """There is no profile of this user."""


class NotOwnProfile(Exception):
    """The profile is another user's."""


def profile_create(
    *,
    user_id: str,
    email: str,
    preferences: Preferences,
    caller: str | None,
    preconditions: Preconditions = UNCONDITIONAL,
) -> Representation:
    """
    Store a new profile; return what is sent of it.

    preferences as profiles.preferences.check allows them. caller is the user who asks, None for
    staff. Raises NotOwnProfile, EmailRejected, PreconditionFailed, AlreadyExists.
    """
    _refuse_others(user_id, caller)
    check_email(email)
    preconditions.require(None)  # /profiles is the collection, which has no representation
    now = records.now()
    profile = ProfileRecord(user_id, email, canonical(preferences), Metadata(now, now), version=1)
    with backends.primary().writing(cache_keys.tags_of_profile(user_id)):
        backends.primary().create(profile)
    return _done(profile)


def profile_replace(
    *,
    user_id: str,
    email: str,
    preferences: Preferences,
    caller: str | None,
    preconditions: Preconditions = UNCONDITIONAL,
) -> Representation:
    """
    Replace email and preferences, and raise the version by 1.

    Raises ProfileNotFound, NotOwnProfile, EmailRejected, PreconditionFailed, AlreadyExists; then nothing
    was written.
    """
    _refuse_others(user_id, caller)
    check_email(email)
    version = _version_for(user_id, preconditions)
    with backends.primary().writing(cache_keys.tags_of_profile(user_id)):
        changed = backends.primary().replace(
            user_id,
            email=email,
            preferences=preferences,
            now=records.now(),
            if_version=version,
        )
    return _done(_changed(changed, user_id, version))


def preferences_patch(
    *,
    user_id: str,
    patch: Preferences,
    caller: str | None,
    preconditions: Preconditions = UNCONDITIONAL,
) -> Representation:
    """
    Merge the patch into the preferences (RFC 7396), atomically, and raise the version by 1.

    patch as profiles.preferences.check_patch allows it. Raises ProfileNotFound, NotOwnProfile,
    PreconditionFailed, PreferencesRejected (the result is too large); then nothing was written.
    """
    _refuse_others(user_id, caller)
    version = _version_for(user_id, preconditions)
    with backends.primary().writing(cache_keys.tags_of_profile(user_id)):
        changed = backends.primary().patch(
            user_id, patch=patch, now=records.now(), if_version=version
        )
    return _done(_changed(changed, user_id, version))


def profile_delete(
    *, user_id: str, caller: str | None, preconditions: Preconditions = UNCONDITIONAL
) -> None:
    """Delete the profile. Raises ProfileNotFound, NotOwnProfile, PreconditionFailed."""
    _refuse_others(user_id, caller)
    version = _version_for(user_id, preconditions)
    with backends.primary().writing(cache_keys.tags_of_deleted_profile(user_id)):
        deleted = backends.primary().delete(user_id, if_version=version)
    if not deleted:
        raise _missed(user_id, version)
    try:
        backends.mirror().delete(user_id, if_version=None)
    except (PyMongoError, DatabaseError, InterfaceError) as exc:
        _log_mirror_failure(user_id, exc)


def mirror_update(*, user_id: str) -> None:
    """Bring the mirror's copy of a profile up to date. Raises what the drivers raise, AlreadyExists."""
    profile = backends.primary().get(user_id)
    if profile is None:
        backends.mirror().delete(user_id, if_version=None)
    else:
        try:
            backends.mirror().copy(profile)
        finally:
            backends.primary().rekey(profile)


def profiles_copy() -> Iterator[Compared]:
    """
    Bring the mirror up to date: copy every profile, and delete the copies of deleted profiles.

    Yield each batch that was compared. Raises what the drivers raise; it may be run again. A copy
    that collides with another's e-mail is made once that one is copied.
    """
    postponed: list[str] = []
    for batch in _pages(backends.primary()):
        refused = 0
        for profile in batch:
            try:
                refused += not _accepted(profile.user_id, partial(backends.mirror().copy, profile))
            except AlreadyExists:
                postponed.append(profile.user_id)
        yield Compared(len(batch), refused)
    for batch in _pages(backends.mirror()):
        present = backends.primary().get_many([profile.user_id for profile in batch])
        for profile in batch:
            if profile.user_id not in present:
                backends.mirror().delete(profile.user_id, if_version=None)
    yield Compared(0, sum(not _copied_again(user_id) for user_id in postponed))


def profiles_load(*, profiles: Sequence[ProfileRecord]) -> int:
    """
    Store those of the profiles that are not there yet, in both stores; return how many.

    Raises EmailRejected; then none was.
    """
    for profile in profiles:
        check_email(profile.email)
    with backends.primary().writing([cache_keys.PROFILES.tag]):
        stored = backends.primary().load(profiles)
    backends.mirror().load(profiles)
    return stored


def profiles_reshape() -> Iterator[int]:
    """
    Rewrite documents of older shapes in the present one; yield how many in each batch.

    What is answered stays the same, so nothing is invalidated. A document that a write overtakes
    is left as it is, for the next run.
    """
    while batch := mongodb.outdated(_BATCH):
        reshaped = sum(map(mongodb.reshape, batch))
        yield reshaped
        if not reshaped:
            return


def _accepted(user_id: str, copy: Callable[[], None]) -> bool:
    """
    Copy a profile; return whether the mirror accepted it. Raises AlreadyExists, and what concerns all profiles.

    A document edited by hand may hold what the other store cannot.
    """
    try:
        copy()
    except (DataError, IntegrityError) as exc:
        _log_mirror_failure(user_id, exc)
        return False
    return True


def _copied_again(user_id: str) -> bool:
    """Copy a profile whose address another one had; a remaining conflict predates the rule of unique addresses."""
    try:
        return _accepted(user_id, partial(mirror_update, user_id=user_id))
    except AlreadyExists as exc:  # copied all the same
        _log_mirror_failure(user_id, exc)
        return True


def _pages(store: ProfileStore) -> Iterator[Sequence[ProfileRecord]]:
    after = ""
    while batch := store.page(after=after, limit=_BATCH):
        yield batch
        after = batch[-1].user_id


def _refuse_others(user_id: str, caller: str | None) -> None:
    if caller is not None and caller != user_id:
        raise NotOwnProfile("The profile belongs to another user.")


def _version_for(user_id: str, preconditions: Preconditions) -> int | None:
    """Return the version that the write is for, None where it is for any. Raises PreconditionFailed."""
    if preconditions == UNCONDITIONAL:
        return None
    current = backends.primary().get(user_id)
    if current is None:
        raise _not_found(user_id)
    preconditions.require(records.representation(current).etag)
    return current.version if preconditions.name_a_version else None


def _changed(changed: ProfileRecord | None, user_id: str, version: int | None) -> ProfileRecord:
    if changed is None:
        raise _missed(user_id, version)
    return changed


def _missed(user_id: str, version: int | None) -> Exception:
    """Return why nothing was changed: the profile is gone, or changed since If-Match was compared."""
    return _not_found(user_id) if version is None else PreconditionFailed()


def _not_found(user_id: str) -> ProfileNotFound:
    return ProfileNotFound(f"There is no profile of {user_id}.")


def _done(profile: ProfileRecord) -> Representation:
    """Copy the written profile to the mirror, whose failure does not concern the caller, and return it."""
    try:
        backends.mirror().copy(profile)
    except (PyMongoError, DatabaseError, InterfaceError, AlreadyExists) as exc:
        _log_mirror_failure(profile.user_id, exc)
    return records.representation(profile)


def _log_mirror_failure(user_id: str, exc: Exception) -> None:
    # The change stream, or manage.py copy_profiles, repairs it.
    log.warning("profile not copied", user_id=user_id, reason=type(exc).__name__)
