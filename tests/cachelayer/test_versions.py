"""Two versions of the code at once, as while a new one is rolled out: VERSION parts their entries alone."""

import json

import pytest
from django.db import connection

from cachelayer import outbox, trust
from cachelayer.invalidation import clear
from cachelayer.namespace import register_name, stamp_name
from cachelayer.testing import override_config
from notes import cache_keys, services
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

VERSIONS = (1, 2)


def status(api, version: int, note_id) -> str:
    """Read as that version does; return what the cache did."""
    with override_config(VERSION=version):
        response = api.get(f"/api/v1/notes/{note_id}")
    assert response.status_code == 200
    return response["Cache-Status"].split(";")[1].strip().removeprefix("fwd=")


def title(api, version: int, note_id) -> str:
    with override_config(VERSION=version):
        return json.loads(api.get(f"/api/v1/notes/{note_id}").content)["title"]


def by_service(note_id) -> None:
    services.note_update(note_id=note_id, caller="abc", title="new title")


def in_psql(note_id) -> None:
    """An edit past the services, and the relay, which may be of either version."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notes SET title = 'new title' WHERE id = %s", [note_id])
    assert trust.lease.wait(30)
    assert outbox.deliver()


class TestTwoVersions:
    @pytest.fixture
    def note_id(self):
        return make_note(user_id="abc", title="old title")

    def test_do_not_read_each_other_s_entries(self, api, note_id):
        assert [status(api, version, note_id) for version in (1, 1, 2, 2, 1)] == [
            *("uri-miss", "hit"),
            *("uri-miss", "hit"),
            "hit",
        ]

    @pytest.mark.parametrize("edit", [by_service, in_psql])
    @pytest.mark.parametrize("writer", VERSIONS)
    def test_a_write_by_either_invalidates_the_entries_of_both(self, api, note_id, edit, writer):
        for version in VERSIONS:
            assert title(api, version, note_id) == "old title"

        with override_config(VERSION=writer):
            edit(note_id)

        assert [title(api, version, note_id) for version in VERSIONS] == ["new title"] * 2

    def test_a_clearance_by_either_clears_both(self, api, note_id):
        for version in VERSIONS:
            status(api, version, note_id)

        with override_config(VERSION=1):
            clear([cache_keys.NOTES], cleared_by="a test")

        assert [status(api, version, note_id) for version in VERSIONS] == ["uri-miss", "uri-miss"]

    def test_hosts_of_both_are_in_one_register_and_hear_of_the_same_stamps(self):
        names = set()
        for version in VERSIONS:
            with override_config(VERSION=version):
                names.add((register_name(), stamp_name("note:1")))

        assert len(names) == 1
