"""manage.py import_notes: real files, every kind of bad one among them."""

import io
import os
import shutil
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.postgres.server import connect
from config.stack import ROOT
from notes import services
from notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)


def run(path: Path, **options) -> tuple[str, str, int]:
    """Return what the command wrote to both outputs, and its exit status."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        call_command("import_notes", path, user_id="abc", stdout=out, stderr=err, **options)
    except SystemExit as stopped:
        status = stopped.code
    return out.getvalue(), err.getvalue(), status


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "notes"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "one.md").write_text("# One\n\ntext\n")
    (root / "deep" / "two.MARKDOWN").write_text("---\ntitle: Two\n---\nbody")
    (root / "deep" / "deeper" / "three.txt").write_text("plain\n")
    return root


class TestImport:
    def test_makes_a_note_of_each_file(self, folder):
        told, _, status = run(folder)

        assert status == 0
        assert told.startswith("3 created, 0 updated, 0 unchanged")
        assert dict(Note.objects.values_list("title", "content")) == {
            "One": "# One\n\ntext\n",
            "Two": "---\ntitle: Two\n---\nbody",
            "three": "plain\n",
        }
        assert set(Note.objects.values_list("user_id", flat=True)) == {"abc"}

    def test_run_twice_it_changes_nothing(self, folder):
        run(folder)
        before = list(Note.objects.order_by("id").values())

        told, _, _ = run(folder)

        assert told.startswith("0 created, 0 updated, 3 unchanged")
        assert list(Note.objects.order_by("id").values()) == before

    def test_a_note_that_was_changed_since_is_kept(self, folder):
        run(folder)
        note = Note.objects.get(title="One")
        services.note_update(note_id=note.pk, caller="abc", title="Mine now")

        told, complained, status = run(folder)

        assert "1 differs" in told
        assert "one.md" in complained
        assert status == 0
        assert Note.objects.get(pk=note.pk).title == "Mine now"

    def test_with_update_the_file_wins(self, folder):
        run(folder)
        (folder / "one.md").write_text("# One, edited\n")

        told, _, _ = run(folder, update=True)

        assert "1 updated, 2 unchanged" in told
        assert Note.objects.get(title="One, edited").version == 2

    def test_two_folders_with_the_same_names_do_not_overwrite_each_other(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "other")
        run(folder)

        told, _, _ = run(tmp_path / "other")

        assert told.startswith("3 created")

    def test_one_file_can_be_imported_alone(self, folder):
        told, _, _ = run(folder / "one.md")

        assert told.startswith("1 created")

    def test_this_project_s_own_documents_are_imported_and_read_over_http(self, api):
        _, complained, status = run(ROOT / "docs")

        assert (complained, status) == ("", 0)
        found = api.get("/api/v1/notes?userId=abc&q=architecture").json()["results"]
        assert found[0]["title"] == "Architecture"
        assert found[0]["content"] == (ROOT / "docs" / "architecture.md").read_text()


class TestBadFiles:
    def test_are_listed_with_their_reason_and_the_rest_is_imported(self, folder, tmp_path):
        (tmp_path / "outside.md").write_text("secret")
        (folder / "latin1.md").write_bytes("# Caf\xe9".encode("latin-1"))
        (folder / "nul.md").write_bytes(b"# x\n\n\0")
        (folder / "long.md").write_text("x" * 100_001)
        (folder / "huge.md").write_text("x" * 500_000)
        (folder / "dangling.md").symlink_to("nowhere")
        (folder / "loop.md").symlink_to("loop.md")
        (folder / "leaving.md").symlink_to(tmp_path / "outside.md")
        (folder / "folder.md").mkdir()
        (folder / "linked.md").symlink_to(folder / "deep", target_is_directory=True)
        os.mkfifo(folder / "pipe.md")
        (folder / os.fsdecode(b"bad-name-\xff.md")).write_bytes(b"\xff")
        (folder / ".hidden.md").write_text("hidden")
        (folder / ".git").mkdir()
        (folder / ".git" / "config.md").write_text("hidden")
        (folder / "picture.png").write_bytes(b"\x89PNG")
        (folder / "empty.md").write_text("")
        (folder / "bom.md").write_bytes(b"\xef\xbb\xbf# With a mark")

        told, complained, status = run(folder)

        assert status == 1
        assert "5 created" in told
        assert "10 skipped, 1 other files" in told
        assert set(Note.objects.values_list("title", flat=True)) == {
            "One",
            "Two",
            "three",
            "empty",
            "With a mark",
        }
        for name, reason in {
            "latin1.md": "is not UTF-8 at byte 5",
            "nul.md": "null character in line 3",
            "long.md": "has 100001 characters; at most 100000",
            "huge.md": "has 500000 bytes",
            "dangling.md": "No such file",
            "loop.md": "ymlink loop",
            "leaving.md": "leaves the folder",
            "linked.md": "not a regular file",
            "pipe.md": "not a regular file",
            r"bad-name-\xff.md": "not UTF-8",
        }.items():
            [line] = [line for line in complained.splitlines() if f"/{name}:" in line]
            assert reason in line

    def test_a_file_that_may_not_be_read_is_listed(self, folder, monkeypatch):
        def denied(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", denied)  # root may read everything

        _, complained, status = run(folder / "one.md")

        assert status == 1
        assert "one.md: Permission denied" in complained


class TestMisuse:
    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(CommandError, match="no such file"):
            run(tmp_path / "nowhere")

    def test_a_user_id_that_is_none(self, folder):
        with pytest.raises(CommandError, match="--user-id a b"):
            call_command("import_notes", folder, user_id="a b")


class TestFailure:
    def test_a_lost_database_leaves_whole_notes_and_says_how_to_go_on(self, folder, monkeypatch):
        original, calls = services.note_import, []

        def cut_off(**note):
            calls.append(note)
            if len(calls) == 2:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    [pid] = cursor.fetchone()
                with connect(psycopg.Connection, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
            return original(**note)

        monkeypatch.setattr(services, "note_import", cut_off)

        with pytest.raises(CommandError, match=r"after 1 created.*run it again to go on"):
            run(folder)
        connection.close()
        monkeypatch.setattr(services, "note_import", original)

        assert Note.objects.count() == 1
        told, _, _ = run(folder)
        assert told.startswith("2 created, 0 updated, 1 unchanged")

    def test_an_interruption_says_how_to_go_on(self, folder, monkeypatch):
        def interrupted(**note):
            raise KeyboardInterrupt

        monkeypatch.setattr(services, "note_import", interrupted)

        _, complained, status = run(folder)

        assert status == 130
        assert "Run it again to go on" in complained
