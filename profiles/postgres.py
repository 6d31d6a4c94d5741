"""Profiles in PostgreSQL."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from cachelayer.invalidation import invalidate
from profiles import models, preferences, records
from profiles.emails import email_key
from profiles.models import ProfileRow
from profiles.preferences import Preferences
from profiles.records import Metadata, ProfileLine, ProfileRecord
from profiles.stores import AlreadyExists

_LINE = (
    *("user_id", "email", "preferences__theme", "preferences__language"),
    *("version", "updated_at"),
)

_COLUMNS: Final = [str(column.column) for column in ProfileRow._meta.concrete_fields]
# One statement, whose row is there, or is not, or changes meanwhile. The trigger is for edits that
# bypass the service; a copy has been invalidated already. The names are those of the model.
_COPY: Final = f"""
    INSERT INTO user_profiles ({", ".join(_COLUMNS)})
    SELECT {", ".join(["%s"] * len(_COLUMNS))} FROM set_config('trilith.copies_profile', 'on', true)
    ON CONFLICT (user_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
    WHERE user_profiles.version <= excluded.version
"""  # noqa: S608


class PostgresProfiles:
    """Profiles in the table user_profiles."""

    def writing(self, tags: Sequence[str]) -> AbstractContextManager[object]:
        return _transaction(tags)

    def get(self, user_id: str) -> ProfileRecord | None:
        row = ProfileRow.objects.filter(pk=user_id).first()
        return None if row is None else models.record(row)

    def get_many(self, user_ids: Sequence[str]) -> Mapping[str, ProfileRecord]:
        storable = [user_id for user_id in user_ids if "\0" not in user_id]
        rows = ProfileRow.objects.filter(pk__in=storable)
        return {row.user_id: models.record(row) for row in rows}

    def create(self, profile: ProfileRecord) -> None:
        with _duplicate_as_conflict():
            _row(profile).save(force_insert=True)

    def replace(
        self,
        user_id: str,
        *,
        email: str,
        preferences: Preferences,
        now: datetime,
        if_version: int | None,
    ) -> ProfileRecord | None:
        with transaction.atomic():
            row = _locked(user_id, if_version)
            if row is None:
                return None
            row.email, row.email_key, row.preferences = email, email_key(email), preferences
            return _saved(row, now)

    def patch(
        self, user_id: str, *, patch: Preferences, now: datetime, if_version: int | None
    ) -> ProfileRecord | None:
        with transaction.atomic():
            row = _locked(user_id, if_version)
            if row is None:
                return None
            row.preferences = preferences.merged(row.preferences, patch)
            preferences.check_size(row.preferences)
            return _saved(row, now)

    def delete(self, user_id: str, *, if_version: int | None) -> bool:
        rows = ProfileRow.objects.filter(pk=user_id)
        deleted, _ = (rows if if_version is None else rows.filter(version=if_version)).delete()
        return deleted == 1

    def copy(self, profile: ProfileRecord) -> None:
        try:
            _copy(profile, email_key(profile.email))
        except AlreadyExists as exc:
            if exc.field == "email":
                _copy(profile, None)
            raise

    def rekey(self, profile: ProfileRecord) -> None:
        key = email_key(profile.email)
        rows = ProfileRow.objects.filter(pk=profile.user_id, email=profile.email)
        with _duplicate_as_conflict():
            rows.exclude(email_key=key).update(email_key=key)

    def page(self, *, after: str, limit: int) -> Sequence[ProfileRecord]:
        rows = ProfileRow.objects.filter(pk__gt=after).order_by("pk")[:limit]
        return [models.record(row) for row in rows]

    def find(self, *, text: str, after: str, limit: int) -> Sequence[ProfileLine]:
        condition = Q(pk__startswith=text) if text else Q()
        if "@" in text:
            condition |= Q(email_key=email_key(text))
        rows = ProfileRow.objects.filter(condition, pk__gt=after)
        return [_line(*row) for row in rows.order_by("pk").values_list(*_LINE)[:limit]]

    def load(self, profiles: Sequence[ProfileRecord]) -> int:
        before = ProfileRow.objects.filter(pk__in=[profile.user_id for profile in profiles]).count()
        with transaction.atomic():
            ProfileRow.objects.bulk_create(map(_row, profiles), ignore_conflicts=True)
        after = ProfileRow.objects.filter(pk__in=[profile.user_id for profile in profiles]).count()
        return after - before

    def count(self) -> int:
        return ProfileRow.objects.count()


@contextlib.contextmanager
def _transaction(tags: Sequence[str]) -> Iterator[None]:
    with transaction.atomic():
        invalidate(*tags)
        yield


def _copy(profile: ProfileRecord, key: str | None) -> None:
    fields = _row(profile)
    fields.email_key = key
    values = [
        column.get_db_prep_save(getattr(fields, column.attname), connection)
        for column in ProfileRow._meta.concrete_fields
    ]
    with _duplicate_as_conflict(), connection.cursor() as cursor:
        cursor.execute(_COPY, values)


@contextlib.contextmanager
def _duplicate_as_conflict() -> Iterator[None]:
    """Turn the violated constraint into AlreadyExists with the name of the field."""
    # A savepoint, so that a transaction around stays usable; a single statement needs none.
    scope = transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext()
    try:
        with scope:
            yield
    except IntegrityError as exc:
        diagnostics = getattr(exc.__cause__, "diag", None)
        is_email = (
            diagnostics is not None
            and diagnostics.constraint_name == "user_profiles_email_key_unique"
        )
        raise AlreadyExists("email" if is_email else "user_id") from exc


def _locked(user_id: str, if_version: int | None) -> ProfileRow | None:
    rows = ProfileRow.objects.select_for_update().filter(pk=user_id)
    return (rows if if_version is None else rows.filter(version=if_version)).first()


def _saved(row: ProfileRow, now: datetime) -> ProfileRecord:
    row.version += 1
    row.updated_at = now
    with _duplicate_as_conflict():
        row.save(force_update=True)
    return models.record(row)


def _line(
    user_id: str, email: str, theme: Any, language: Any, version: int, updated_at: datetime
) -> ProfileLine:
    columns = {"theme": theme, "language": language}
    chosen = {name: value for name, value in columns.items() if value is not None}
    times = Metadata(updated_at, updated_at)
    return records.line(ProfileRecord(user_id, email, chosen, times, version))


def _row(profile: ProfileRecord) -> ProfileRow:
    return ProfileRow(
        user_id=profile.user_id,
        email=profile.email,
        email_key=email_key(profile.email),
        preferences=profile.preferences,
        created_at=profile.metadata.created_at,
        updated_at=profile.metadata.updated_at,
        last_login=profile.metadata.last_login,
        version=profile.version,
    )
