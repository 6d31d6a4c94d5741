"""manage.py export_notes: what import_notes reads back to the same notes, and nothing else overwritten."""

import io
import os
import shutil
import tempfile
import unicodedata
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.postgres.server import connect
from notes import file_export, services
from notes.file_import import read_note_file
from notes.limits import CONTENT_MAX_CHARACTERS
from notes.models import Note
from notes.records import NoteRecord, record

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
AWKWARD = st.sampled_from(
    [
        *("---\n", "+++\n", "...\n", "\r\n", "\r", "\n", "\t", "  ", "# Heading\n", "title: x\n"),
        *("trilith_note: x\n", "\ufeff", "\u2028", "\x85", "```\n", "<!--", "'", '"', "\\", "\x1b"),
    ]
)
TITLES = st.one_of(
    st.text(TEXT, min_size=1, max_size=200),
    st.sampled_from(
        [
            *("1.10", "010", "yes", "null", "~", "a: b", "- x", "*x", "&x", "!!bool x", "'", '"'),
            *(
                "a/b",
                "../../etc/passwd",
                ".",
                "..",
                ".hidden",
                "CON",
                "nul.md",
                "x" * 200,
                "%",
                "-",
            ),
            *(
                "---",
                "+++",
                "two\nlines",
                "  ends  ",
                "tab\t",
                "\u2028",
                "\x1b[31m",
                "😀",
                "\ufeff",
            ),
        ]
    ),
)
CONTENTS = st.one_of(
    st.text(TEXT, max_size=100),
    st.lists(st.one_of(AWKWARD, st.text(TEXT, max_size=5)), max_size=20).map("".join),
)


def run(command: str, path: Path, user_id: str = "abc", **options) -> tuple[str, str, int]:
    """Return what the command wrote to both outputs, and its exit status."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        call_command(command, path, user_id=user_id, stdout=out, stderr=err, **options)
    except SystemExit as stopped:
        status = stopped.code
    return out.getvalue(), err.getvalue(), status


def rows(user_id: str = "abc") -> list[dict]:
    return list(Note.objects.filter(user_id=user_id).order_by("id").values())


def texts(user_id: str) -> list[tuple[str, str]]:
    return sorted(Note.objects.filter(user_id=user_id).values_list("title", "content"))


def create(title: str = "A title", content: str = "text\n", user_id: str = "abc") -> UUID:
    note_id, _ = services.note_create(user_id=user_id, title=title, content=content)
    return note_id


class TestRoundTrip:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(TITLES, CONTENTS), min_size=1, max_size=4))
    @example([("same", "a"), ("same", "a"), ("same", "b")])
    @example([("x", "---\ntrilith_note: 1\n---\n"), ("y", "\ufeff# BOM"), ("z", "")])
    @example([("long", "\U0001f600" * CONTENT_MAX_CHARACTERS)])
    def test_export_and_import_change_nothing(self, notes):
        Note.objects.all().delete()
        for title, content in notes:
            create(title, content)
        before = rows()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "exported"

            exported = run("export_notes", folder)
            again = run("import_notes", folder)
            copied = run("import_notes", folder, "someone-else")
            copied_again = run("import_notes", folder, "someone-else")
            Note.objects.filter(user_id="abc").delete()
            restored = run("import_notes", folder)
            exported_again = run("export_notes", folder)

            assert len(list(folder.iterdir())) == len(notes)
        count = len(notes)
        assert exported == (f"{count} created, 0 updated, 0 unchanged, 0 skipped.\n", "", 0)
        assert again[0].startswith(f"0 created, 0 updated, {count} unchanged, 0 differs, 0 skipped")
        assert copied[0].startswith(f"{count} created")
        assert copied_again[0].startswith(f"0 created, 0 updated, {count} unchanged")
        assert restored[0].startswith(f"{count} created")
        assert exported_again == (f"0 created, 0 updated, {count} unchanged, 0 skipped.\n", "", 0)
        plain = ("id", "user_id", "title", "content")
        assert [[row[field] for field in plain] for row in rows()] == [
            [row[field] for field in plain] for row in before
        ]
        assert texts("someone-else") == texts("abc") == sorted(notes)

    def test_a_folder_that_was_imported_comes_back(self, tmp_path):
        source = tmp_path / "source"
        source.mkdir()
        (source / "crlf.md").write_bytes(b"---\r\ntitle: 1.10\r\n---\r\n# H\r\n \t\r\n")
        (source / "toml.md").write_bytes(b'+++\ntitle = "T"\n+++\ntext  \n')
        (source / "plain.txt").write_bytes(b"\rplain\r\n\n")
        run("import_notes", source)
        before = rows()

        run("export_notes", tmp_path / "exported")
        replies = [run("import_notes", folder) for folder in (tmp_path / "exported", source)]

        assert [reply.startswith("0 created, 0 updated, 3 unchanged") for reply, _, _ in replies]
        assert rows() == before
        assert {row["content"].encode() for row in before} == {
            path.read_bytes() for path in source.iterdir()
        }

    def test_more_notes_than_a_page_are_exported(self, tmp_path):
        for number in range(205):
            create(f"Note {number}")
        create("not mine", user_id="other")

        reply, _, _ = run("export_notes", tmp_path)

        assert reply.startswith("205 created")
        assert len(list(tmp_path.iterdir())) == 205

    def test_a_file_may_be_moved_and_edited(self, tmp_path):
        note_id = create("Before", "text\n")
        run("export_notes", tmp_path)
        [path] = tmp_path.iterdir()
        moved = tmp_path / "deep" / "other name.txt"
        moved.parent.mkdir()
        path.rename(moved)
        moved.write_text(moved.read_text().replace('"Before"', "After 1.10") + "more\n")

        reply, _, _ = run("import_notes", tmp_path, update=True)

        assert reply.startswith("0 created, 1 updated")
        note = Note.objects.get(pk=note_id)
        assert (note.title, note.content) == ("After 1.10", "text\nmore\n")


class TestIdentity:
    def test_a_copy_of_a_file_is_listed_not_imported_twice(self, tmp_path):
        create()
        run("export_notes", tmp_path)
        [path] = tmp_path.iterdir()
        shutil.copy(path, tmp_path / "zz.md")

        reply, complaints, status = run("import_notes", tmp_path)

        assert (status, Note.objects.count()) == (1, 1)
        assert f"zz.md: is the same note as {path}" in complaints
        assert "1 unchanged" in reply

    def test_a_file_that_names_another_user_s_note_is_listed(self, tmp_path):
        note_id = create("Theirs", user_id="other")
        (tmp_path / "x.md").write_text(
            f"---\ntrilith_note: {note_id}\ntrilith_user: abc\ntitle: Mine\n---\nstolen\n"
        )

        _, complaints, status = run("import_notes", tmp_path, update=True)

        assert status == 1
        assert "x.md: the note belongs to another user" in complaints
        assert Note.objects.get().title == "Theirs"

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            ("trilith_note: 12\ntitle: x", "not a UUID"),
            (f"trilith_note: {UUID(int=1)}", "no title"),
        ],
    )
    def test_a_header_that_was_broken_is_listed(self, tmp_path, header, reason):
        (tmp_path / "x.md").write_text(f"---\n{header}\n---\ntext")

        _, complaints, status = run("import_notes", tmp_path)

        assert (status, Note.objects.count()) == (1, 0)
        assert reason in complaints


class TestFiles:
    @given(
        st.builds(
            NoteRecord,
            id=st.uuids(),
            user_id=st.just("abc"),
            title=TITLES,
            content=CONTENTS,
            created_at=st.none(),
            updated_at=st.none(),
            version=st.just(1),
        )
    )
    def test_have_safe_names(self, note):
        name = file_export.file_name(note)

        assert len(name.encode()) <= 255
        assert name.endswith(f"{note.id}.md")
        assert not name.startswith((".", "-", " "))
        assert name.count(".") == 1
        assert name.isprintable()
        assert not set(name) & set('/\\:*?"<>| ')
        assert unicodedata.normalize("NFKC", name).lower() == name

    def test_are_read_back_by_their_text_alone(self, tmp_path):
        note = record(Note.objects.get(pk=create("1.10", "---\nx: y\n---\n")))
        path = tmp_path / "any.md"
        path.write_text(file_export.file_text(note.id, note.user_id, note.title, note.content))

        file = read_note_file(path, root=tmp_path)

        assert (file.title, file.content) == (note.title, note.content)
        assert (file.origin.note_id, file.origin.user_id) == (note.id, "abc")


class TestRunAgain:
    def test_a_changed_note_replaces_its_file_and_renames_it(self, tmp_path):
        note_id = create("Before")
        run("export_notes", tmp_path)
        services.note_update(note_id=note_id, caller="abc", title="After")

        reply, _, status = run("export_notes", tmp_path)

        assert (reply, status) == ("0 created, 1 updated, 0 unchanged, 0 skipped.\n", 0)
        assert [path.name for path in tmp_path.iterdir()] == [f"after-{note_id}.md"]

    def test_an_edited_file_is_kept(self, tmp_path):
        note_id = create()
        run("export_notes", tmp_path)
        [path] = tmp_path.iterdir()
        for edited in (
            path.read_text() + "more",
            path.read_text().replace("---\n", "---\nk: v\n", 1),
        ):
            path.write_text(edited)
            services.note_update(note_id=note_id, caller="abc", content="changed")

            reply, complaints, status = run("export_notes", tmp_path)

            assert (reply, status) == ("0 created, 0 updated, 0 unchanged, 1 skipped.\n", 1)
            assert f"{path}: was edited since its export" in complaints
            assert path.read_text() == edited

    @pytest.mark.parametrize("kind", ["text", "link", "folder", "pipe", "binary", "other note"])
    def test_what_is_not_its_own_is_kept(self, tmp_path, kind):
        note = record(Note.objects.get(pk=create()))
        outside = tmp_path / "outside.md"
        outside.write_text("precious")
        folder = tmp_path / "folder"
        folder.mkdir()
        path = folder / file_export.file_name(note)
        {
            "text": lambda: path.write_text("precious"),
            "link": lambda: path.symlink_to(outside),
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "binary": lambda: path.write_bytes(b"\xff\0"),
            "other note": lambda: path.write_text(
                file_export.file_text(UUID(int=1), "abc", note.title, note.content)
            ),
        }[kind]()
        before = path.lstat()

        reply, complaints, status = run("export_notes", folder)

        assert (reply, status) == ("0 created, 0 updated, 0 unchanged, 1 skipped.\n", 1)
        assert f"{path}: " in complaints
        assert "in the way; move it away" in complaints
        assert path.lstat() == before
        assert outside.read_text() == "precious"
        assert list(folder.iterdir()) == [path]


class TestMisuse:
    def test_a_file_in_the_folder_s_place(self, tmp_path):
        (tmp_path / "file").write_text("x")

        with pytest.raises(CommandError, match="file: not a folder"):
            run("export_notes", tmp_path / "file")
        with pytest.raises(CommandError, match="Not a directory"):
            run("export_notes", tmp_path / "file" / "deeper")

    def test_a_wrong_user_id_or_path(self, tmp_path):
        with pytest.raises(CommandError, match="--user-id a b"):
            run("export_notes", tmp_path, "a b")
        with pytest.raises(CommandError, match="path: is empty"):
            call_command("export_notes", "", user_id="abc")


class TestFailure:
    def test_a_disk_that_fails_leaves_whole_files(self, tmp_path, monkeypatch):
        create("One")
        create("Two")
        replace, calls = Path.replace, []

        def full(path, target):
            calls.append(path)
            if len(calls) == 2:
                raise OSError(28, "No space left on device", str(path))
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", full)

        with pytest.raises(CommandError, match=r"No space left.*after 1 created.*Run it again"):
            run("export_notes", tmp_path)

        assert [path.name[:3] for path in tmp_path.iterdir()] == ["two"]

    def test_a_lost_database_says_how_to_go_on(self, tmp_path, monkeypatch):
        create()
        original = file_export.exported_files

        def cut_off(folder):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                [pid] = cursor.fetchone()
            with connect(psycopg.Connection, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
            return original(folder)

        monkeypatch.setattr(file_export, "exported_files", cut_off)

        with pytest.raises(CommandError, match=r"PostgreSQL failed.*Run it again to continue"):
            run("export_notes", tmp_path)
        connection.close()

    def test_an_interruption_leaves_no_half_file(self, tmp_path, monkeypatch):
        create()

        def interrupted(path, target):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", interrupted)

        _, complaints, status = run("export_notes", tmp_path)

        assert status == 130
        assert "Run it again to continue" in complaints
        assert list(tmp_path.iterdir()) == []
