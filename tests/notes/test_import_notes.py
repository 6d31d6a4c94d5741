"""manage.py import_notes: real files, with every kind of bad file among them."""

import contextlib
import io
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.postgres.server import connect
from config.stack import ROOT
from config.web.user_ids import RESERVED_USER_IDS
from notes import file_import, services
from notes.models import Note

# Each mapping merges the previous mapping twice: 2 ** 24 pairs where merge keys are expanded.
MERGE_KEY_BOMB = (
    "---\na: &a {k: v}\n"
    + "".join(f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n" for a, b in pairwise(ascii_lowercase[:25]))
    + "---\n# Bomb\n"
)

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
        output, _, status = run(folder)

        assert status == 0
        assert output.startswith("3 created, 0 updated, 0 unchanged")
        assert dict(Note.objects.values_list("title", "content")) == {
            "One": "# One\n\ntext\n",
            "Two": "---\ntitle: Two\n---\nbody",
            "three": "plain\n",
        }
        assert set(Note.objects.values_list("user_id", flat=True)) == {"abc"}

    def test_run_twice_it_changes_nothing(self, folder):
        run(folder)
        before = list(Note.objects.order_by("id").values())

        output, _, _ = run(folder)

        assert output.startswith("0 created, 0 updated, 3 unchanged")
        assert list(Note.objects.order_by("id").values()) == before

    def test_a_note_that_was_changed_since_is_kept(self, folder):
        run(folder)
        note = Note.objects.get(title="One")
        services.note_update(note_id=note.pk, caller="abc", title="Mine now")

        output, complained, status = run(folder)

        assert "1 differs" in output
        assert "one.md" in complained
        assert status == 0
        assert Note.objects.get(pk=note.pk).title == "Mine now"

    def test_with_update_the_file_wins(self, folder):
        run(folder)
        (folder / "one.md").write_text("# One, edited\n")

        output, _, _ = run(folder, update=True)

        assert "1 updated, 2 unchanged" in output
        assert Note.objects.get(title="One, edited").version == 2

    def test_two_folders_with_the_same_names_do_not_overwrite_each_other(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "other")
        run(folder)

        output, _, _ = run(tmp_path / "other")

        assert output.startswith("3 created")

    def test_one_file_can_be_imported_alone(self, folder):
        output, _, _ = run(folder / "one.md")

        assert output.startswith("1 created")

    def test_this_project_s_own_documents_are_imported_and_read_over_http(self, api):
        _, complained, status = run(ROOT / "docs")

        assert (complained, status) == ("", 0)
        notes = api.get("/api/v1/notes?userId=abc&q=architecture").json()["results"]
        assert notes[0]["title"] == "Architecture"
        assert notes[0]["content"] == (ROOT / "docs" / "architecture.md").read_text()


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

        output, complained, status = run(folder)

        assert status == 1
        assert "5 created" in output
        assert "10 skipped, 1 other files" in output
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
            "long.md": "has 100001 characters; a note has at most 100000",
            "huge.md": "has 500000 bytes",
            "dangling.md": "No such file",
            "loop.md": "Too many levels of symbolic links",
            "leaving.md": "outside the folder",
            "linked.md": "not a regular file",
            "pipe.md": "not a regular file",
            r"bad-name-\xff.md": "not UTF-8",
        }.items():
            [line] = [line for line in complained.splitlines() if f"/{name}:" in line]
            assert reason in line

    def test_a_file_that_may_not_be_read_is_listed(self, folder, monkeypatch):
        def denied(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(file_import, "_read_bytes", denied)  # root may read everything

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

    @pytest.mark.parametrize("user_id", ["a b", "", "abc\n", "x" * 129, "\x1b[31m", "ä"])
    def test_any_user_id_that_the_site_would_refuse(self, folder, user_id):
        with pytest.raises(CommandError, match=r"^--user-id [ -~ä]*: 1 to 128 characters"):
            call_command("import_notes", folder, f"--user-id={user_id}")

    @pytest.mark.parametrize("user_id", RESERVED_USER_IDS)
    def test_a_user_id_that_nobody_may_call_by(self, folder, user_id):
        with pytest.raises(CommandError, match="is reserved"):
            call_command("import_notes", folder, user_id=user_id)

    def test_an_empty_path(self):
        with pytest.raises(CommandError, match="path: is empty"):
            call_command("import_notes", "", user_id="abc")

    def test_a_file_that_can_be_no_note(self, folder):
        (folder / "picture.png").write_bytes(b"\x89PNG")

        with pytest.raises(CommandError, match=r"picture\.png: neither a folder nor a \.md"):
            run(folder / "picture.png")

    def test_a_path_through_a_file(self, folder):
        with pytest.raises(CommandError, match="Not a directory"):
            run(folder / "one.md" / "two.md")


class TestHostileFiles:
    def test_none_ends_the_import(self, folder):
        texts = {
            "tag": "---\nflag: !!bool maybe\n---\n# By heading\n",
            "digits": f"---\ntitle: {'9' * 5000}\n---\n",
            "bomb": MERGE_KEY_BOMB,
            "deep": "---\na: " + "[" * 60_000 + "\n---\n# Deep\n",
            "long": "---\n" + "a: b\n" * 15_000 + "---\n# Long\n",
            "toml": "+++\na = " + "[" * 60_000 + "\n+++\n# Toml\n",
            "cycle": "---\n&a title: *a\n---\n# Cycle\n",
            "line": "#" + " x" * 49_000,
            "quotes": "> " * 49_000,
            "breaks": "---\ntitle: a\u2028b\x85c\n---\n",
            "nothing": "# \u200b\x1b\n",
        }
        for name, text in texts.items():
            (folder / f"{name}.md").write_text(text, newline="")

        reply, complaints, status = run(folder)

        assert (status, complaints) == (0, "")
        assert reply.startswith(f"{len(texts) + 3} created")
        titles = {note.content: note.title for note in Note.objects.all()}
        assert titles[texts["tag"]] == "By heading"
        assert titles[texts["digits"]] == "9" * 199 + "…"
        assert titles[MERGE_KEY_BOMB] == "Bomb"
        assert titles[texts["deep"]] == "Deep"
        assert titles[texts["long"]] == "Long"
        assert titles[texts["toml"]] == "Toml"
        assert titles[texts["breaks"]] == "a b c"
        assert titles[texts["quotes"]] == "quotes"

    def test_names_are_printed_without_what_steers_a_terminal(self, folder):
        for name in ["\x1b[31mred\x1b[0m", "two\nlines", "\u202egnp", "c1\x9b", "\udcff"]:
            (folder / f"{name}.md").write_bytes(b"\xff")

        _, complaints, status = run(folder)

        assert status == 1
        assert len(complaints.splitlines()) == 5
        assert all(character.isprintable() for character in complaints.replace("\n", ""))
        for escaped in [r"\x1b[31mred\x1b[0m", r"two\nlines", r"\u202egnp", r"c1\x9b", r"\xff"]:
            assert f"/{escaped}.md: is not UTF-8" in complaints

    def test_a_device_is_not_opened(self, tmp_path, monkeypatch):
        (tmp_path / "device.md").symlink_to("/dev/zero")
        device = Path("/dev/zero")

        _, complaints, status = run(tmp_path)
        monkeypatch.setattr(file_import, "is_note_file", lambda path: True)
        _, complaints_too, _ = run(device)

        assert status == 1
        assert "outside the folder" in complaints
        assert "not a regular file" in complaints_too

    def test_a_file_that_holds_more_than_its_size_says_is_read_within_bounds(self, monkeypatch):
        monkeypatch.setattr(file_import, "_BYTES_MAX", 10)

        with pytest.raises(file_import.Unreadable, match="more than 10 bytes"):
            file_import._read_bytes(Path("/proc/self/status"))


class TestFolders:
    def test_1500_within_each_other_are_walked(self, tmp_path):
        with contextlib.chdir(tmp_path):
            for _ in range(1_500):
                Path("d").mkdir()
                os.chdir("d")
            Path("deep.md").write_text("# Deep")

        try:
            reply, complaints, status = run(tmp_path)
        finally:
            subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest cannot: it recurses

        assert (status, complaints) == (0, "")
        assert reply.startswith("1 created")

    def test_one_that_cannot_be_listed_is_reported_and_the_rest_imported(self, folder, monkeypatch):
        scandir = os.scandir

        def denied(path):
            if Path(path).name == "deep":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", denied)  # root may list everything

        reply, complaints, status = run(folder)

        assert status == 1
        assert f"skipped  {folder}/deep: Permission denied" in complaints
        assert "1 created" in reply
        assert "1 skipped" in reply


class TestTwoAtOnce:
    def test_both_end_well_and_each_file_is_one_note(self, folder):
        for number in range(40):
            (folder / f"{number}.md").write_text(f"# Number {number}\n")
        start = threading.Barrier(2)

        def importing() -> tuple[str, str, int]:
            start.wait(timeout=30)
            try:
                return run(folder)
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            replies = [future.result() for future in [pool.submit(importing) for _ in range(2)]]

        assert [(complaints, status) for _, complaints, status in replies] == [("", 0)] * 2
        created = [int(reply.split(" created")[0]) for reply, _, _ in replies]
        assert sum(created) == Note.objects.count() == 43

    def test_who_loses_the_race_for_a_file_sees_the_other_s_note(self, folder, monkeypatch):
        original = services.note_create

        def overtaken(**note):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: (original(**note), connection.close())).result()
            return original(**note)

        monkeypatch.setattr(services, "note_create", overtaken)

        reply, complaints, status = run(folder)

        assert (complaints, status) == ("", 0)
        assert reply.startswith("0 created, 0 updated, 3 unchanged")
        assert Note.objects.count() == 3


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

        with pytest.raises(CommandError, match=r"after 1 created.*Run it again to continue"):
            run(folder)
        connection.close()
        monkeypatch.setattr(services, "note_import", original)

        assert Note.objects.count() == 1
        output, _, _ = run(folder)
        assert output.startswith("2 created, 0 updated, 1 unchanged")

    def test_an_interruption_says_how_to_go_on(self, folder, monkeypatch):
        def interrupted(**note):
            raise KeyboardInterrupt

        monkeypatch.setattr(services, "note_import", interrupted)

        _, complained, status = run(folder)

        assert status == 130
        assert "Run it again to continue" in complained
