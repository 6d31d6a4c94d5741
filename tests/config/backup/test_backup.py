"""Back up a running site, destroy everything, restore it, and find all of it again."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import pymongo
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.backup import BackupRefused, OnProgress, manifest, mongodb, postgres
from config.backup.backup import backup_make
from config.backup.restore import PUTTING_IN_PLACE, backup_check, backup_restore
from config.stack import Stack
from config.stack.process import wait_until
from loadtests.drills.degradation.fixtures import logged_in
from loadtests.drills.degradation.probes import profile_of
from loadtests.generators.http_load import Call, Sample, json_call, send_once
from loadtests.testbed.site import Site, running_site, second_site
from profiles.documents import UserProfile
from tests.builders import make_note

PASSWORD = "only-for-this-test-1"


def silent(step: str, done: int, total: int) -> None:
    """Ignore the progress that a terminal would show."""


def tables(site: Site) -> dict[str, Any]:
    """Return all that PostgreSQL holds: rows, indexes, triggers, functions, constraints, sequences."""
    queries = {
        "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "functions": "SELECT proname, prosrc FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND proname !~ '^pg_stat' ORDER BY 1",
        "constraints": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "sequences": "SELECT sequencename, last_value FROM pg_sequences"
        " WHERE sequencename <> 'cachelayer_outbox_id_seq' ORDER BY 1",
    }
    with psycopg.connect(site.stack.urls()["DATABASE_URL"]) as connection:
        contents: dict[str, Any] = {
            kind: connection.execute(query).fetchall() for kind, query in queries.items()
        }
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
        for (name,) in names:
            # Rows of the first come and go by themselves; the second is renewed while the site runs.
            if name not in ("cachelayer_outbox", "cachelayer_trust"):
                query = psycopg.sql.SQL("SELECT * FROM {} ORDER BY 1")
                contents[name] = connection.execute(
                    query.format(psycopg.sql.Identifier(name))
                ).fetchall()
    return contents


def collections(site: Site) -> dict[str, Any]:
    """Return all that MongoDB holds: documents, indexes, options."""
    contents: dict[str, Any] = {}
    with pymongo.MongoClient(site.stack.urls()["MONGODB_URI"]) as client:
        database = client["trilith"]
        for info in database.list_collections():
            collection = database[info["name"]]
            if info["name"] != "change_stream_tokens":
                contents[info["name"]] = [
                    info.get("options"),
                    sorted(map(str, collection.list_indexes())),
                    sorted(map(str, collection.find())),
                ]
    return contents


def destroy(site: Site) -> None:
    with psycopg.connect(site.stack.urls()["DATABASE_URL"], autocommit=True) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (name,) in names:
            connection.execute(
                psycopg.sql.SQL("DROP TABLE {} CASCADE").format(psycopg.sql.Identifier(name))
            )
    with pymongo.MongoClient(site.stack.urls()["MONGODB_URI"]) as client:
        client.drop_database("trilith")


def end(site: Site) -> None:
    """Stop the site's processes; the servers keep running."""
    process = psutil.Process(site.pid)
    os.kill(site.pid, signal.SIGTERM)
    assert wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 30
    )


class Story:
    """What was written before the backup, and the responses of that time, by path."""

    def __init__(self, site: Site) -> None:
        made = send_once(site.url, json_call("abc", "/api/v1/notes", {"title": "Before"}))
        self.note = json.loads(made.body)["id"]
        for user in ("abc", "def"):
            send_once(site.url, json_call(user, "/api/v1/profiles", profile_of(user)))
        self.note_path = f"/api/v1/notes/{self.note}"
        self.cookie = logged_in(site.url, "root", PASSWORD)
        self.paths = (
            self.note_path,
            "/api/v1/notes?userId=abc",
            "/api/v1/notes?q=before",
            "/api/v1/profiles/abc",
            "/api/v1/profiles/postgres/abc",
            "/api/v1/profiles/mongo/def",
        )
        self.before = self.answers(site.url)

    def answers(self, url: str) -> dict[str, bytes]:
        bodies = {}
        for path in self.paths:
            answer = send_once(url, Call("", path))
            assert answer.status == 200, (path, answer)
            bodies[path] = answer.body.replace(url.encode(), b"")
        return bodies

    def go_on(self, url: str) -> None:
        """Write and read after the backup, so that Redis has copies newer than the backup."""
        send_once(url, json_call("abc", self.note_path, {"title": "After"}, "PATCH"))
        send_once(url, json_call("abc", "/api/v1/notes", {"title": "Also after, not before"}))
        send_once(
            url, json_call("abc", "/api/v1/profiles/abc/preferences", {"theme": "dark"}, "PATCH")
        )
        for path in self.paths:
            send_once(url, Call("", path))
        assert "hit" in send_once(url, Call("", self.note_path)).cache


def page(url: str, cookie: str) -> Sample:
    return send_once(url, Call("", "/admin/", headers={"Cookie": cookie}))


class TestBackupAndRestore:
    def test_everything_is_restored_and_nothing_newer_is_served(self, tmp_path):
        stack = Stack("backup", own_only=True)
        stack.reset()  # in case a killed run has left anything
        try:
            with running_site(
                "backup", notes=0, variables={"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
            ) as site:
                self._run(site, tmp_path / "backup")
        finally:
            stack.reset()

    def _run(self, site: Site, folder: Path) -> None:
        site.manage("createsuperuser", "--no-input", "--username=root", "--email=r@example.org")
        story = Story(site)
        output = site.manage("backup", "--to", str(folder))
        assert "documents" in output
        before = tables(site), collections(site)
        story.go_on(site.url)
        later = logged_in(site.url, "root", PASSWORD)
        end(site)

        destroy(site)
        assert "are as of" in site.manage("restore", str(folder))

        restored = tables(site), collections(site)
        for was, now in zip(before, restored, strict=True):
            assert set(was) == set(now)
            for name in was:
                assert was[name] == now[name], name
        with second_site(site, variables={}) as url:
            assert story.answers(url) == story.before
            assert page(url, story.cookie).status == 200
            assert page(url, later).status == 302  # that session is from after the backup
            answer = send_once(url, json_call("abc", story.note_path, {"title": "Again"}, "PATCH"))
            assert json.loads(answer.body)["version"] == 2
            assert b"Again" in send_once(url, Call("", "/api/v1/notes?userId=abc")).body


@pytest.fixture
def backup(tmp_path, transactional_db) -> Iterator[Path]:
    """A backup of the tests' own databases, with a collection of more than one batch."""
    folder = tmp_path / "made"
    collection = UserProfile._get_db()["backed_up"]
    collection.insert_many({"number": number} for number in range(1_500))
    collection.create_index("number", unique=True, name="number_unique")
    try:
        backup_make(to=folder, on_progress=silent)
        yield folder
    finally:
        collection.drop()


@pytest.mark.django_db(transaction=True)
class TestBackupCheck:
    def test_accepts_a_backup_that_only_its_owner_can_read(self, backup):
        checked = backup_check(folder=backup, on_progress=silent)

        assert checked.product == "trilith"
        assert checked.tables["django_content_type"] > 0
        assert backup.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o077 for path in manifest.files_in(backup).values()} == {0}

    def test_refuses_a_folder_that_is_not_a_backup(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(BackupRefused, match=r"no manifest\.json"):
                backup_check(folder=folder, on_progress=silent)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"product": "other"}, "a backup of other"),
            ({"format": 2}, "has format 2"),
            ({"tables": 3}, "cannot be read"),
            ({"surprise": 3}, "cannot be read"),
            ({"migrations": ["notes.9999_later"]}, "newer version.*notes.9999_later"),
        ],
    )
    def test_refuses_a_foreign_manifest(self, backup, changed, message):
        path = backup / manifest.NAME
        path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changed))

        with pytest.raises(BackupRefused, match=message):
            backup_check(folder=backup, on_progress=silent)

    def test_refuses_a_manifest_that_is_cut_off(self, backup):
        path = backup / manifest.NAME
        path.write_bytes(path.read_bytes()[:-40])

        with pytest.raises(BackupRefused, match="cannot be read"):
            backup_check(folder=backup, on_progress=silent)

    @pytest.mark.parametrize("start", [b"", b'{"tables":'])
    def test_refuses_a_manifest_that_is_nested_too_deeply(self, backup, start):
        (backup / manifest.NAME).write_bytes(start + b"[" * 100_000)

        with pytest.raises(BackupRefused, match="cannot be read"):
            backup_check(folder=backup, on_progress=silent)

    def test_refuses_a_manifest_that_is_no_utf_8(self, backup):
        path = backup / manifest.NAME
        path.write_bytes(path.read_bytes().replace(b"trilith", b"trilit\xff"))

        with pytest.raises(BackupRefused, match="cannot be read"):
            backup_check(folder=backup, on_progress=silent)

    def test_refuses_a_file_with_a_changed_byte(self, backup):
        dump = backup / "postgres.dump"
        content = bytearray(dump.read_bytes())
        content[-100] ^= 1
        dump.write_bytes(content)

        with pytest.raises(BackupRefused, match=r"postgres\.dump is damaged"):
            backup_check(folder=backup, on_progress=silent)

    def test_refuses_a_missing_or_an_unexpected_file(self, backup):
        (backup / "more").touch()
        with pytest.raises(BackupRefused, match="more is missing or unexpected"):
            backup_check(folder=backup, on_progress=silent)
        (backup / "more").rename(backup.parent / "more")
        (backup / "postgres.dump").unlink()
        with pytest.raises(BackupRefused, match=r"postgres\.dump is missing"):
            backup_check(folder=backup, on_progress=silent)


@pytest.mark.django_db(transaction=True)
class TestBackupMake:
    def test_refuses_a_folder_that_exists(self, tmp_path):
        with pytest.raises(BackupRefused, match="already exists"):
            backup_make(to=tmp_path, on_progress=silent)

    def test_leaves_nothing_behind_when_interrupted(self, tmp_path):
        def interrupt(step: str, done: int, total: int) -> None:
            if step == "checksums":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup_make(to=tmp_path / "backups" / "made", on_progress=interrupt)

        assert list((tmp_path / "backups").iterdir()) == []

    def test_a_missing_program_is_reported_in_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setenv("STACK_PG_BIN", str(tmp_path / "nowhere"))

        with pytest.raises(BackupRefused, match="STACK_PG_BIN"):
            backup_make(to=tmp_path / "backups" / "made", on_progress=silent)

        assert list((tmp_path / "backups").iterdir()) == []


def leftovers() -> list[str]:
    """Return the databases and collections that a restoration has created beside those in use."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ '_(restoring|replaced)$'")
        databases = [name for (name,) in cursor.fetchall()]
    names = UserProfile._get_db().list_collection_names()
    return databases + [name for name in names if name.startswith("restoring_")]


@pytest.mark.django_db(transaction=True)
class TestBackupRestore:
    @pytest.fixture
    def unused(self, monkeypatch) -> None:
        """Pretend that nobody else is connected: other tests of this process may be."""
        monkeypatch.setattr(postgres, "refuse_while_in_use", lambda: None)

    def test_refuses_while_the_site_is_connected(self, backup):
        parameters = postgres._parameters(postgres._database())
        with (
            psycopg.connect(**parameters),
            pytest.raises(BackupRefused, match=r"connections to the database .* stop the site"),
        ):
            backup_restore(folder=backup, force=True, on_progress=silent)

    def test_refuses_to_replace_anything_without_force(self, backup, unused):
        make_note()

        with pytest.raises(BackupRefused, match=r"not empty \(.*notes 1.*--force"):
            backup_restore(folder=backup, force=False, on_progress=silent)

    def test_changes_nothing_when_interrupted_before_the_end(self, backup, unused):
        make_note(title="Kept")
        steps = []

        def interrupt(step: str, done: int, total: int) -> None:
            steps.append(step)
            if step == PUTTING_IN_PLACE:
                assert leftovers()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup_restore(folder=backup, force=True, on_progress=interrupt)

        assert steps[-1] == PUTTING_IN_PLACE
        assert leftovers() == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT title FROM notes")
            assert cursor.fetchall() == [("Kept",)]

    def test_refuses_different_numbers_of_rows_or_documents(self, backup):
        original = manifest.read(backup, silent)
        with (
            pytest.raises(BackupRefused, match="not those of the backup: notes"),
            postgres.restored_aside(backup, original.tables | {"notes": 7}, lambda cursor: None),
        ):
            raise AssertionError
        assert original.collections["backed_up"] == 1_500
        more = original.collections | {"backed_up": 1_501}
        with (
            pytest.raises(BackupRefused, match="has 1500 documents, not 1501"),
            mongodb.restored_aside(backup, more, silent),
        ):
            raise AssertionError
        assert leftovers() == []

    def test_collections_come_back_with_their_indexes(self, backup):
        collection = UserProfile._get_db()["backed_up"]
        before = sorted(map(str, collection.find())), collection.index_information()
        collection.delete_many({"number": {"$gt": 10}})
        collection.drop_index("number_unique")
        expected = manifest.read(backup, silent).collections

        with mongodb.restored_aside(backup, expected, silent):
            pass
        assert collection.count_documents({}) == 11  # not swapped in
        with mongodb.restored_aside(backup, expected, silent) as swap_in:
            swap_in()

        assert (sorted(map(str, collection.find())), collection.index_information()) == before


@pytest.mark.django_db(transaction=True)
class TestCommands:
    def test_backup_reports_its_contents_and_restore_checks_it(self, tmp_path, capsys):
        UserProfile._get_collection().insert_one({"_id": "x", "user_id": "x", "email": "x@y.org"})
        folder = tmp_path / "made"
        try:
            call_command("backup", to=folder)
            call_command("restore", folder, check=True)
        finally:
            UserProfile._get_collection().delete_one({"_id": "x"})

        output = capsys.readouterr().out
        assert "rows" in output
        assert f"{folder} is whole" in output

    def test_refusals_are_reported_in_one_line(self, tmp_path):
        with pytest.raises(CommandError, match=r"no backup was written: .* already exists"):
            call_command("backup", to=tmp_path)
        with pytest.raises(CommandError, match=r"nothing was restored: .* is not a backup"):
            call_command("restore", tmp_path, force=True)

    def test_a_spool_that_cannot_be_read_is_reported_in_one_line(self, tmp_path, unreadable_spool):
        with pytest.raises(CommandError, match=f"^no backup was written: {unreadable_spool}: .*$"):
            call_command("backup", to=tmp_path / "new")

        assert not (tmp_path / "new").exists()

    # The second is too long while it is partial.
    @pytest.mark.parametrize("name", ["x" * 300, "x" * 250])
    def test_a_name_that_is_too_long_is_one_line(self, tmp_path, name):
        with pytest.raises(
            CommandError, match=r"no backup was written: .*x(\.partial)?: File name too long"
        ):
            call_command("backup", to=tmp_path / name)
        if len(name) > 255:
            with pytest.raises(CommandError, match=r"nothing was restored: .*: File name too long"):
                call_command("restore", tmp_path / name)

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("unwritable", ["file", "file/below"])
    def test_a_file_in_place_of_the_folder_above_is_one_line(self, tmp_path, unwritable):
        (tmp_path / "file").touch()

        with pytest.raises(CommandError, match=r"no backup was written: .*file.*: \w+"):
            call_command("backup", to=tmp_path / unwritable / "made")

        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("denied", [manifest.NAME, postgres.DUMP, "mongodb/backed_up.json"])
    def test_a_file_that_may_not_be_read_is_one_line(self, backup, monkeypatch, denied):
        """Refused as to another account than this one, which may be root."""
        path_open = Path.open

        def refused(path: Path, *args: Any, **options: Any) -> Any:
            if path == backup / denied:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return path_open(path, *args, **options)

        monkeypatch.setattr(Path, "open", refused)

        for options in ({"check": True}, {"force": True}):
            with pytest.raises(
                CommandError, match=f"^nothing was restored: {backup / denied}: Permission denied$"
            ):
                call_command("restore", backup, **options)

    def test_nor_may_one_be_read_by_the_time_it_is_loaded(self, backup, monkeypatch):
        monkeypatch.setattr(postgres, "refuse_while_in_use", lambda: None)
        lost = backup / "mongodb" / "backed_up.bson"

        def lose(step: str, done: int, total: int) -> None:
            if step == "PostgreSQL":
                lost.unlink()

        with pytest.raises(BackupRefused, match=f"{lost}: No such file"):
            backup_restore(folder=backup, force=True, on_progress=lose)

        assert leftovers() == []

    @pytest.mark.parametrize("definition", ["[" * 100_000, "no json"])
    def test_nor_may_a_definition_that_cannot_be_read(self, backup, monkeypatch, definition):
        monkeypatch.setattr(postgres, "refuse_while_in_use", lambda: None)
        path = backup / "mongodb" / "backed_up.json"
        path.write_text(definition)
        whole = msgspec.json.decode((backup / manifest.NAME).read_bytes(), type=manifest.Manifest)
        files = manifest.checksums(backup)
        manifest.write(backup, msgspec.structs.replace(whole, files=files))

        with pytest.raises(BackupRefused, match=f"{path} cannot be read"):
            backup_restore(folder=backup, force=True, on_progress=silent)

        assert leftovers() == []

    @pytest.mark.parametrize("command", ["backup", "restore"])
    def test_an_interruption_exits_with_status_130(self, tmp_path, monkeypatch, command, capsys):
        def interrupted(**arguments: Any) -> None:
            raise KeyboardInterrupt

        name = {"backup": "backup_make", "restore": "backup_restore"}[command]
        monkeypatch.setattr(f"config.management.commands.{command}.{name}", interrupted)

        with pytest.raises(SystemExit) as stopped:
            call_command(command, *([tmp_path] if command == "restore" else []))

        assert stopped.value.code == 130
        assert "Interrupted" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("step", "remedy"),
        [("PostgreSQL", "are as they were"), (PUTTING_IN_PLACE, "run it again with --force")],
    )
    def test_a_store_that_stops_answering_is_reported_in_one_line(
        self, tmp_path, monkeypatch, step, remedy
    ):
        def fall_silent(*, on_progress: OnProgress, **arguments: Any) -> None:
            on_progress(step, 0, 0)
            raise pymongo.errors.ServerSelectionTimeoutError("no primary")

        monkeypatch.setattr("config.management.commands.restore.backup_restore", fall_silent)
        monkeypatch.setattr("config.management.commands.backup.backup_make", fall_silent)

        with pytest.raises(CommandError, match=f"no primary: .*{remedy}"):
            call_command("restore", tmp_path)
        with pytest.raises(CommandError, match="no backup was written: no primary"):
            call_command("backup", to=tmp_path / "made")

    def test_so_is_a_command_that_restore_calls_once_the_databases_are_replaced(
        self, tmp_path, monkeypatch
    ):
        def replaced(*, on_progress: OnProgress, **arguments: Any) -> None:
            on_progress(PUTTING_IN_PLACE, 0, 0)

        def fail(*arguments: Any, **options: Any) -> None:
            raise CommandError("postgres failed: gone")

        monkeypatch.setattr("config.management.commands.restore.backup_restore", replaced)
        monkeypatch.setattr("config.management.commands.restore.call_command", fail)

        with pytest.raises(CommandError, match=r"postgres failed: gone: .*with --force"):
            call_command("restore", tmp_path)
