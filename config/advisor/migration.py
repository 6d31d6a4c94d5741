"""Proposed indexes for Django: the declaration in the model, and the migration that creates them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from django.apps import apps
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.writer import MigrationWriter
from django.db.models.expressions import Expression, F, RawSQL

from config.advisor.postgres_candidates import Candidate
from config.advisor.query_analysis import IndexKey

_CLASS: Final = "class Migration(migrations.Migration):\n"
_ATOMIC: Final = "    atomic = False  # CREATE INDEX CONCURRENTLY runs outside of transactions\n"


def model_for_table(table: str) -> type[models.Model]:
    """Return the model of a table. Raises LookupError."""
    for model in apps.get_models():
        if model._meta.db_table == table:
            return model
    raise LookupError(f"no model has the table {table}")


def django_index(candidate: Candidate) -> models.Index:
    """Return the index as declared in the model."""
    kind = GinIndex if candidate.method == "gin" else models.Index
    local = model_for_table(candidate.table)._meta.local_fields
    fields = {str(field.column): field.name for field in local}
    if all(key.is_column for key in candidate.keys):
        signs = ("-" if key.descending else "" for key in candidate.keys)
        names = [fields[key.columns[0]] for key in candidate.keys]
        listed = [sign + name for sign, name in zip(signs, names, strict=True)]
        classes = [candidate.operator_class] if candidate.operator_class else []
        return kind(fields=listed, name=candidate.name, opclasses=classes)
    return kind(*(_expression(key, fields) for key in candidate.keys), name=candidate.name)


def declaration(candidate: Candidate) -> str:
    """Return the line for Meta.indexes of the model."""
    source, _ = MigrationWriter.serialize(django_index(candidate))
    return str(source)


def write(candidates: Sequence[Candidate], folder: Path | None) -> list[Path]:
    """
    Write a migration for each app; return the files.

    They go into the app's migrations, or into FOLDER/APP if a folder is given. Raises OSError.
    """
    by_app: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_app[model_for_table(candidate.table)._meta.app_label].append(candidate)
    loader = MigrationLoader(connection)
    written = []
    for label, candidates in by_app.items():
        migration = _migration(label, candidates, loader)
        own = Path(apps.get_app_config(label).path) / "migrations"
        there = own if folder is None else folder / label
        there.mkdir(parents=True, exist_ok=True)
        path = there / f"{migration.name}.py"
        with path.open("x", encoding="utf-8") as file:  # never overwrite a file
            file.write(_text(migration))
        written.append(path)
    return written


def _migration(
    label: str, candidates: Sequence[Candidate], loader: MigrationLoader
) -> migrations.Migration:
    leaves = loader.graph.leaf_nodes(label)
    last = leaves[0][1]
    number = (MigrationAutodetector.parse_number(last) or 0) + 1
    migration = migrations.Migration(f"{number:04d}_advised_indexes", label)
    vars(migration)["dependencies"] = list(leaves)
    vars(migration)["operations"] = [
        AddIndexConcurrently(
            str(model_for_table(candidate.table)._meta.model_name), django_index(candidate)
        )
        for candidate in candidates
    ]
    return migration


def _text(migration: migrations.Migration) -> str:
    # MigrationWriter does not write atomic = False, which CREATE INDEX CONCURRENTLY needs.
    text = MigrationWriter(migration).as_string().rstrip() + "\n"
    return text.replace(f"{_CLASS}\n", f"{_CLASS}\n{_ATOMIC}", 1)


def _expression(key: IndexKey, fields: dict[str, str]) -> F | Expression:
    if key.is_column:
        field = F(fields[key.columns[0]])
        return field.desc() if key.descending else field
    migration = RawSQL(key.sql, ())  # noqa: S611  # written by sqlglot, from names only
    return migration.desc() if key.descending else migration
