"""A backup made while the site serves, everything destroyed, and all of it there again."""

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

from config.backup import BackupRefused, Tell, manifest, mongodb, postgres
from config.backup.backup import backup_make
from config.backup.restore import PUTTING_IN_PLACE, backup_check, backup_restore
from config.stack import Stack
from config.stack.process import wait_until
from loadtests.drills.degradation.fixtures import logged_in
from loadtests.drills.degradation.probes import profile_of, written
from loadtests.generators.http_load import Call, Sample, ask
from loadtests.testbed.site import Site, another_site, running_site
from profiles.documents import UserProfile
from tests.builders import make_note

PASSWORD = "only-for-this-test-1"


def silent(what: str, done: int, total: int) -> None:
    """Take what a terminal would be shown."""


def tables(site: Site) -> dict[str, Any]:
    """All that PostgreSQL has: rows, indexes, triggers, functions, constraints, and sequences."""
    asked = {
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
        found: dict[str, Any] = {
            what: connection.execute(query).fetchall() for what, query in asked.items()
        }
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
        for (name,) in names:
            if name != "cachelayer_outbox":  # rows that come and go by themselves
                query = psycopg.sql.SQL("SELECT * FROM {} ORDER BY 1")
                found[name] = connection.execute(
                    query.format(psycopg.sql.Identifier(name))
                ).fetchall()
    return found


def collections(site: Site) -> dict[str, Any]:
    """All that MongoDB has: documents, indexes, options."""
    found: dict[str, Any] = {}
    with pymongo.MongoClient(site.stack.urls()["MONGODB_URI"]) as client:
        database = client["trilith"]
        for one in database.list_collections():
            collection = database[one["name"]]
            if one["name"] != "change_stream_tokens":
                found[one["name"]] = [
                    one.get("options"),
                    sorted(map(str, collection.list_indexes())),
                    sorted(map(str, collection.find())),
                ]
    return found


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
    """End the site's processes, and leave the servers."""
    process = psutil.Process(site.pid)
    os.kill(site.pid, signal.SIGTERM)
    assert wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 30
    )


class Story:
    """What was written before the backup, and the answers of then, by path."""

    def __init__(self, site: Site) -> None:
        made = ask(site.url, written("abc", "/api/v1/notes", {"title": "Before"}))
        self.note = json.loads(made.body)["id"]
        for user in ("abc", "def"):
            ask(site.url, written(user, "/api/v1/profiles", profile_of(user)))
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
        found = {}
        for path in self.paths:
            answer = ask(url, Call("", path))
            assert answer.status == 200, (path, answer)
            found[path] = answer.body.replace(url.encode(), b"")
        return found

    def go_on(self, url: str) -> None:
        """Write after the backup, and read it, so that Redis has copies newer than the backup."""
        ask(url, written("abc", self.note_path, {"title": "After"}, "PATCH"))
        ask(url, written("abc", "/api/v1/notes", {"title": "Also after, not before"}))
        ask(url, written("abc", "/api/v1/profiles/abc/preferences", {"theme": "dark"}, "PATCH"))
        for path in self.paths:
            ask(url, Call("", path))
        assert "hit" in ask(url, Call("", self.note_path)).cache


def page(url: str, cookie: str) -> Sample:
    return ask(url, Call("", "/admin/", headers={"Cookie": cookie}))


@pytest.mark.timeout(180)
class TestBackupAndRestore:
    def test_all_is_as_it_was_and_nothing_newer_is_served(self, tmp_path):
        stack = Stack("backup", own_only=True)
        stack.reset()  # of what a killed run has left
        try:
            with running_site(
                "backup", notes=0, variables={"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
            ) as site:
                self._tell(site, tmp_path / "backup")
        finally:
            stack.reset()

    def _tell(self, site: Site, folder: Path) -> None:
        site.manage("createsuperuser", "--no-input", "--username=root", "--email=r@example.org")
        story = Story(site)
        told = site.manage("backup", "--to", str(folder))
        assert "documents" in told
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
        with another_site(site, variables={}) as url:
            assert story.answers(url) == story.before
            assert page(url, story.cookie).status == 200
            assert page(url, later).status == 302  # that session is from after the backup
            answer = ask(url, written("abc", story.note_path, {"title": "Again"}, "PATCH"))
            assert json.loads(answer.body)["version"] == 2
            assert b"Again" in ask(url, Call("", "/api/v1/notes?userId=abc")).body


@pytest.fixture
def backup(tmp_path, transactional_db) -> Iterator[Path]:
    """A backup of the tests' own databases, with a collection of more than one batch."""
    folder = tmp_path / "made"
    collection = UserProfile._get_db()["backed_up"]
    collection.insert_many({"number": number} for number in range(1_500))
    collection.create_index("number", unique=True, name="number_unique")
    try:
        backup_make(to=folder, tell=silent)
        yield folder
    finally:
        collection.drop()


@pytest.mark.django_db(transaction=True)
class TestBackupCheck:
    def test_passes_what_was_made_and_no_other_can_read_it(self, backup):
        found = backup_check(folder=backup, tell=silent)

        assert found.product == "trilith"
        assert found.tables["django_content_type"] > 0
        assert backup.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o077 for path in manifest.files_in(backup).values()} == {0}

    def test_refuses_what_is_none(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(BackupRefused, match=r"no manifest\.json"):
                backup_check(folder=folder, tell=silent)

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"product": "other"}, "a backup of other"),
            ({"format": 2}, "has the format 2"),
            ({"tables": 3}, "cannot be read"),
            ({"surprise": 3}, "cannot be read"),
            ({"migrations": ["notes.9999_later"]}, "newer version.*notes.9999_later"),
        ],
    )
    def test_refuses_a_foreign_manifest(self, backup, changed, told):
        path = backup / manifest.NAME
        path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changed))

        with pytest.raises(BackupRefused, match=told):
            backup_check(folder=backup, tell=silent)

    def test_refuses_a_manifest_that_is_cut_off(self, backup):
        path = backup / manifest.NAME
        path.write_bytes(path.read_bytes()[:-40])

        with pytest.raises(BackupRefused, match="cannot be read"):
            backup_check(folder=backup, tell=silent)

    def test_refuses_a_file_with_another_byte(self, backup):
        dump = backup / "postgres.dump"
        content = bytearray(dump.read_bytes())
        content[-100] ^= 1
        dump.write_bytes(content)

        with pytest.raises(BackupRefused, match=r"postgres\.dump is damaged"):
            backup_check(folder=backup, tell=silent)

    def test_refuses_a_file_that_is_missing_or_one_too_many(self, backup):
        (backup / "more").touch()
        with pytest.raises(BackupRefused, match="more is missing, or one too many"):
            backup_check(folder=backup, tell=silent)
        (backup / "more").rename(backup.parent / "more")
        (backup / "postgres.dump").unlink()
        with pytest.raises(BackupRefused, match=r"postgres\.dump is missing"):
            backup_check(folder=backup, tell=silent)


@pytest.mark.django_db(transaction=True)
class TestBackupMake:
    def test_refuses_a_folder_that_is_there(self, tmp_path):
        with pytest.raises(BackupRefused, match="there already"):
            backup_make(to=tmp_path, tell=silent)

    def test_leaves_nothing_behind_when_interrupted(self, tmp_path):
        def interrupt(what: str, done: int, total: int) -> None:
            if what == "checksums":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup_make(to=tmp_path / "backups" / "made", tell=interrupt)

        assert list((tmp_path / "backups").iterdir()) == []

    def test_a_program_that_is_not_there_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setenv("STACK_PG_BIN", str(tmp_path / "nowhere"))

        with pytest.raises(BackupRefused, match="STACK_PG_BIN"):
            backup_make(to=tmp_path / "backups" / "made", tell=silent)

        assert list((tmp_path / "backups").iterdir()) == []


def left_aside() -> list[str]:
    """Whatever a restoration has put beside what is in use."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ '_(restoring|replaced)$'")
        databases = [name for (name,) in cursor.fetchall()]
    names = UserProfile._get_db().list_collection_names()
    return databases + [name for name in names if name.startswith("restoring_")]


@pytest.mark.django_db(transaction=True)
class TestBackupRestore:
    @pytest.fixture
    def unused(self, monkeypatch) -> None:
        """Say that nobody else is connected: other tests of this process may be."""
        monkeypatch.setattr(postgres, "refuse_while_in_use", lambda: None)

    def test_refuses_while_the_site_is_connected(self, backup):
        parameters = postgres._parameters(postgres._database())
        with (
            psycopg.connect(**parameters),
            pytest.raises(BackupRefused, match=r"connections to the database .* stop the site"),
        ):
            backup_restore(folder=backup, force=True, tell=silent)

    def test_refuses_to_replace_anything_without_force(self, backup, unused):
        make_note()

        with pytest.raises(BackupRefused, match=r"not empty \(.*notes 1.*--force"):
            backup_restore(folder=backup, force=False, tell=silent)

    def test_leaves_all_as_it_was_when_interrupted_before_the_end(self, backup, unused):
        make_note(title="Kept")
        steps = []

        def interrupt(what: str, done: int, total: int) -> None:
            steps.append(what)
            if what == PUTTING_IN_PLACE:
                assert left_aside()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup_restore(folder=backup, force=True, tell=interrupt)

        assert steps[-1] == PUTTING_IN_PLACE
        assert left_aside() == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT title FROM notes")
            assert cursor.fetchall() == [("Kept",)]

    def test_refuses_rows_or_documents_that_are_not_as_many(self, backup):
        found = manifest.read(backup, silent)
        with (
            pytest.raises(BackupRefused, match="not those of the backup: notes"),
            postgres.restored_aside(backup, found.tables | {"notes": 7}, lambda cursor: None),
        ):
            raise AssertionError
        assert found.collections["backed_up"] == 1_500
        more = found.collections | {"backed_up": 1_501}
        with (
            pytest.raises(BackupRefused, match="has 1500 documents, not 1501"),
            mongodb.restored_aside(backup, more, silent),
        ):
            raise AssertionError
        assert left_aside() == []

    def test_collections_come_back_with_their_indexes(self, backup):
        collection = UserProfile._get_db()["backed_up"]
        before = sorted(map(str, collection.find())), collection.index_information()
        collection.delete_many({"number": {"$gt": 10}})
        collection.drop_index("number_unique")
        wanted = manifest.read(backup, silent).collections

        with mongodb.restored_aside(backup, wanted, silent):
            pass
        assert collection.count_documents({}) == 11  # not put in place
        with mongodb.restored_aside(backup, wanted, silent) as put_in_place:
            put_in_place()

        assert (sorted(map(str, collection.find())), collection.index_information()) == before


@pytest.mark.django_db(transaction=True)
class TestCommands:
    def test_backup_tells_what_is_in_it_and_restore_checks_it(self, tmp_path, capsys):
        UserProfile._get_collection().insert_one({"_id": "x", "user_id": "x", "email": "x@y.org"})
        folder = tmp_path / "made"
        try:
            call_command("backup", to=folder)
            call_command("restore", folder, check=True)
        finally:
            UserProfile._get_collection().delete_one({"_id": "x"})

        told = capsys.readouterr().out
        assert "rows" in told
        assert f"{folder} is whole" in told

    def test_refusals_are_one_line(self, tmp_path):
        with pytest.raises(CommandError, match="there already"):
            call_command("backup", to=tmp_path)
        with pytest.raises(CommandError, match=r"nothing was restored: .* is no backup"):
            call_command("restore", tmp_path, force=True)

    @pytest.mark.parametrize("command", ["backup", "restore"])
    def test_an_interruption_is_130(self, tmp_path, monkeypatch, command, capsys):
        def interrupted(**arguments: Any) -> None:
            raise KeyboardInterrupt

        name = {"backup": "backup_make", "restore": "backup_restore"}[command]
        monkeypatch.setattr(f"config.management.commands.{command}.{name}", interrupted)

        with pytest.raises(SystemExit) as stopped:
            call_command(command, *([tmp_path] if command == "restore" else []))

        assert stopped.value.code == 130
        assert "Interrupted" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("step", "told"),
        [("PostgreSQL", "as they were"), (PUTTING_IN_PLACE, "run it again with --force")],
    )
    def test_a_store_that_falls_silent_is_one_line(self, tmp_path, monkeypatch, step, told):
        def fall_silent(*, tell: Tell, **arguments: Any) -> None:
            tell(step, 0, 0)
            raise pymongo.errors.ServerSelectionTimeoutError("no primary")

        monkeypatch.setattr("config.management.commands.restore.backup_restore", fall_silent)
        monkeypatch.setattr("config.management.commands.backup.backup_make", fall_silent)

        with pytest.raises(CommandError, match=f"no primary: .*{told}"):
            call_command("restore", tmp_path)
        with pytest.raises(CommandError, match="no backup was written: no primary"):
            call_command("backup", to=tmp_path / "made")
