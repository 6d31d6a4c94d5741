"""The peers answer the same over the same table as the site; then they may be compared with it."""

import json

import psycopg
import pytest

from loadtests.bench import peers, scenarios
from loadtests.bench.peers import BARE, CACHEOPS, DRF, SITE
from loadtests.generators.http_load import (
    Call,
    UnexpectedResponse,
    connected,
    create_note,
    fetch,
    json_call,
    send_once,
)

PAGE = f"/api/v1/notes?userId={scenarios.READER}"


@pytest.fixture(scope="module")
def note(site):
    return f"/api/v1/notes/{fetch(site.url, PAGE)['results'][0]['id']}"


@pytest.fixture(scope="module")
def servers(site, note):
    with peers.running(site, [Call("", note), Call("", PAGE)]) as running:
        yield running


@pytest.fixture
def own_note(site):
    """A note that the test may write."""
    return f"/api/v1/notes/{create_note(site.url, 'peers', 'Before')}"


class TestReads:
    def test_each_peer_returns_the_same_note(self, servers, note):
        notes = [fetch(server.url, note) for server in servers.values()]

        assert len(notes) == 4
        assert all(other == notes[0] for other in notes)

    def test_each_peer_returns_the_same_page(self, servers):
        pages = [fetch(server.url, PAGE) for server in servers.values()]

        assert all(page["results"] == pages[0]["results"] for page in pages)
        assert all(page["count"] == pages[0]["count"] for page in pages)

    def test_the_bare_function_has_the_headers_of_the_site(self, servers, note):
        names = []
        for server in (servers[SITE], servers[BARE]):
            with connected(server.url) as connection:
                connection.request("GET", note)
                response = connection.getresponse()
                response.read()
                names.append({name.lower() for name, _ in response.getheaders()})

        assert names[0] == names[1]
        assert {"etag", "cache-status", "x-request-id", "server-timing"} <= names[1]

    def test_the_bare_function_answers_a_validator_without_a_body(self, servers, note):
        call = Call("", note, headers={"If-None-Match": "any"})
        sample = send_once(servers[BARE].url, call)

        assert (sample.status, sample.body) == (304, b"")

    def test_cacheops_asks_the_table_once(self, servers, note, site):
        fetch(servers[CACHEOPS].url, note)
        with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"]) as connection:
            connection.execute("LOCK TABLE notes")  # whoever asks it now waits
            sample = send_once(servers[CACHEOPS].url, Call("", note))

        assert sample.status == 200


class TestWrites:
    @pytest.mark.parametrize("peer", [DRF, CACHEOPS])
    def test_a_write_is_read_by_the_next_request(self, servers, own_note, peer):
        url = servers[peer].url
        before = fetch(url, own_note)
        change = json_call("peers", own_note, {"title": "After", "content": "new"}, "PUT")

        fetch(url, change)
        after = fetch(url, own_note)

        assert (before["title"], after["title"], after["content"]) == ("Before", "After", "new")
        assert after["version"] == before["version"] + 1
        assert after["updated_at"] > before["updated_at"]
        past_the_cache = Call("", own_note, headers={"Cache-Control": "no-store"})
        assert fetch(servers[SITE].url, past_the_cache) == after

    @pytest.mark.parametrize("peer", [DRF, CACHEOPS])
    def test_a_note_is_created_for_its_user(self, servers, peer):
        sample = send_once(servers[peer].url, json_call("peers", "/api/v1/notes", {"title": "New"}))
        created = json.loads(sample.body)

        assert sample.status == 201
        assert (created["user_id"], created["version"]) == ("peers", 1)
        assert fetch(servers[SITE].url, f"/api/v1/notes/{created['id']}") == created

    @pytest.mark.parametrize("peer", [DRF, CACHEOPS])
    def test_no_trigger_of_the_site_is_paid_for(self, servers, own_note, peer, site):
        """No row of the outbox is written, so the sequence of its ids stands still."""
        last_id = (
            "SELECT last_value FROM pg_sequences WHERE sequencename = 'cachelayer_outbox_id_seq'"
        )
        with psycopg.connect(site.stack.operator_urls()["DATABASE_URL"]) as connection:
            before = connection.execute(last_id).fetchone()
            fetch(servers[peer].url, json_call("x", own_note, {"title": "T", "content": ""}, "PUT"))
            after = connection.execute(last_id).fetchone()

        assert before == after
        assert before is not None


class TestRunning:
    def test_refuses_to_record_what_is_no_hit(self, site):
        with (
            pytest.raises(UnexpectedResponse, match="/nowhere: status 404"),
            peers.running(site, [Call("", "/nowhere")]),
        ):
            pytest.fail("was started")
