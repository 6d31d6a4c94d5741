"""Proposed indexes as Django has them: the line of the model, and the migration that makes them."""

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
from config.advisor.query_analysis import Key

_CLASS: Final = "class Migration(migrations.Migration):\n"
_ATOMIC: Final = "    atomic = False  # CREATE INDEX CONCURRENTLY runs outside of transactions\n"


def model_of(table: str) -> type[models.Model]:
    """Return the model of a table. Raises LookupError."""
    for model in apps.get_models():
        if model._meta.db_table == table:
            return model
    raise LookupError(f"no model has the table {table}")


def index_of(candidate: Candidate) -> models.Index:
    """Return the index as the model would declare it."""
    kind = GinIndex if candidate.method == "gin" else models.Index
    local = model_of(candidate.table)._meta.local_fields
    fields = {str(field.column): field.name for field in local}
    if all(key.is_column for key in candidate.keys):
        signs = ("-" if key.descending else "" for key in candidate.keys)
        names = [fields[key.columns[0]] for key in candidate.keys]
        listed = [sign + name for sign, name in zip(signs, names, strict=True)]
        classes = [candidate.operator_class] if candidate.operator_class else []
        return kind(fields=listed, name=candidate.name, opclasses=classes)
    return kind(*(_expression(key, fields) for key in candidate.keys), name=candidate.name)


def line_of(candidate: Candidate) -> str:
    """Return what goes into Meta.indexes of the model."""
    told, _ = MigrationWriter.serialize(index_of(candidate))
    return str(told)


def write(candidates: Sequence[Candidate], folder: Path | None) -> list[Path]:
    """
    Write a migration for each app; return the files.

    Into the migrations of the app, or into a folder of the app's name in the one given. Raises
    OSError.
    """
    by_app: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_app[model_of(one.table)._meta.app_label].append(one)
    loader = MigrationLoader(connection)
    written = []
    for label, wanted in by_app.items():
        made = _migration(label, wanted, loader)
        own = Path(apps.get_app_config(label).path) / "migrations"
        there = own if folder is None else folder / label
        there.mkdir(parents=True, exist_ok=True)
        path = there / f"{made.name}.py"
        with path.open("x", encoding="utf-8") as file:  # one that is there stays as it is
            file.write(_text(made))
        written.append(path)
    return written


def _migration(
    label: str, wanted: Sequence[Candidate], loader: MigrationLoader
) -> migrations.Migration:
    leaves = loader.graph.leaf_nodes(label)
    last = leaves[0][1]
    number = (MigrationAutodetector.parse_number(last) or 0) + 1
    made = migrations.Migration(f"{number:04d}_advised_indexes", label)
    vars(made)["dependencies"] = list(leaves)
    vars(made)["operations"] = [
        AddIndexConcurrently(str(model_of(one.table)._meta.model_name), index_of(one))
        for one in wanted
    ]
    return made


def _text(made: migrations.Migration) -> str:
    # The writer knows no atomic, without which none of its operations could run.
    text = MigrationWriter(made).as_string().rstrip() + "\n"
    return text.replace(f"{_CLASS}\n", f"{_CLASS}\n{_ATOMIC}", 1)


def _expression(key: Key, fields: dict[str, str]) -> F | Expression:
    if key.is_column:
        field = F(fields[key.columns[0]])
        return field.desc() if key.descending else field
    made = RawSQL(key.sql, ())  # noqa: S611  # as sqlglot has written it, of names alone
    return made.desc() if key.descending else made
