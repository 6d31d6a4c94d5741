"""The written migration: valid, and it creates what was proposed without locking the table."""

import importlib.util
import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from config.advisor import migration, postgres_candidates
from config.advisor.advice import Advice
from config.advisor.postgres_candidates import Candidate
from config.advisor.query_analysis import analyze
from config.management.commands import index_advisor
from tests.builders import make_note
from tests.indexes import of_table

pytestmark = pytest.mark.django_db(transaction=True)

STATEMENTS = (
    "SELECT id FROM notes WHERE user_id = %s ORDER BY title DESC",
    "SELECT id FROM notes WHERE to_tsvector('simple'::regconfig, title) @@ to_tsquery(%s)",
    "SELECT id FROM notes WHERE user_id = %s AND upper(title) = %s",
)


@pytest.fixture
def candidates() -> list[Candidate]:
    """A composite index, a GIN index, and one with an expression."""
    return [
        next(iter(postgres_candidates.candidates_for(pattern)))
        for statement in STATEMENTS
        for pattern in analyze(statement).patterns
    ]


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Migration(path.stem, "notes")


class TestWrite:
    def test_makes_the_indexes_and_drops_them_again(self, candidates, tmp_path):
        make_note()
        before = of_table("notes")

        [path] = migration.write(candidates, tmp_path)

        assert path == tmp_path / "notes" / "0003_advised_indexes.py"
        made = loaded(path)
        assert made.atomic is False
        assert made.dependencies == [("notes", "0002_notes_indexes")]
        state = MigrationLoader(connection).project_state(made.dependencies)
        changed = made.mutate_state(state)
        with connection.schema_editor(atomic=False) as editor:
            made.apply(state.clone(), editor)
        try:
            assert of_table("notes") - before == {candidate.name for candidate in candidates}
            models = changed.models["notes", "note"].options["indexes"]
            assert {candidate.name for candidate in candidates} <= {index.name for index in models}
        finally:
            with connection.schema_editor(atomic=False) as editor:
                made.unapply(state.clone(), editor)
        assert of_table("notes") == before

    def test_has_the_same_keys_as_the_proposal(self, candidates, tmp_path, settings):
        settings.ALLOW_EXPLAIN_DDL = True
        [path] = migration.write(candidates, tmp_path)
        made = loaded(path)
        state = MigrationLoader(connection).project_state(made.dependencies)
        with connection.schema_editor(atomic=False) as editor:
            made.apply(state.clone(), editor)
        try:
            existing = {
                index.name: index for index in postgres_candidates.existing_indexes("notes")
            }
            for candidate in candidates:
                assert (
                    existing[candidate.name].parts
                    == postgres_candidates.build_on_empty_copy(candidate).parts
                )
        finally:
            with connection.schema_editor(atomic=False) as editor:
                made.unapply(state.clone(), editor)

    def test_does_not_overwrite_a_file(self, candidates, tmp_path):
        [path] = migration.write(candidates, tmp_path)
        path.write_text("mine")

        with pytest.raises(FileExistsError):
            migration.write(candidates, tmp_path)

        assert path.read_text() == "mine"


class TestCommand:
    def write(self, monkeypatch, candidates: list[Candidate], *folder: Path) -> str:
        advice = Advice(
            store="postgres",
            source="a test",
            statements=1,
            threshold="",
            proposals=[],
            refused=[],
            left_out=[],
            flagged=[],
        )
        monkeypatch.setattr(
            index_advisor.postgres, "advise", lambda **options: (advice, candidates)
        )
        errors = io.StringIO()
        words = ["--store", "postgres", "--write", *map(str, folder)]
        call_command("index_advisor", *words, stdout=io.StringIO(), stderr=errors)
        return errors.getvalue()

    def test_writes_into_the_folder_and_says_what_is_left_to_do(
        self, monkeypatch, candidates, tmp_path
    ):
        said = self.write(monkeypatch, candidates, tmp_path)

        assert f"{tmp_path}/notes/0003_advised_indexes.py written" in said
        assert "Meta.indexes" in said
        with pytest.raises(CommandError, match=r"0003_advised_indexes\.py: File exists"):
            self.write(monkeypatch, candidates, tmp_path)

    def test_the_current_folder_is_a_folder_like_others(self, monkeypatch, candidates, tmp_path):
        monkeypatch.chdir(tmp_path)

        said = self.write(monkeypatch, candidates, Path())

        assert (tmp_path / "notes" / "0003_advised_indexes.py").exists()
        assert said.startswith("notes/0003_advised_indexes.py written")

    def test_without_a_folder_they_go_into_the_apps(self, monkeypatch, candidates):
        folders = []
        monkeypatch.setattr(
            index_advisor.migration, "write", lambda _, folder: folders.append(folder) or []
        )

        self.write(monkeypatch, candidates)

        assert folders == [None]

    def test_says_so_where_there_is_none_to_write(self, monkeypatch, tmp_path):
        assert "No migration written" in self.write(monkeypatch, [], tmp_path)
        assert list(tmp_path.iterdir()) == []
