"""The admin's first page: its tiles, who sees which, what a refresh costs, and stores that are down."""

import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import psycopg
import pytest
import redis
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import resolve

from activity import services as activity
from cachelayer import outbox, popularity
from cachelayer.models import OutboxRow
from config.admin import dashboard
from config.mongodb import client as mongodb_client
from config.observability import capped_list, slow_queries
from config.postgres import outages
from config.stack.process import wait_until
from tests.builders import make_note, make_notes
from tests.commands_sent import sent_by

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/"
TILES = "/admin/tiles/"
OF_PERMISSION = {
    "view_clearance": ["hit-rate", "first-level", "redis", "trust", "outbox"],
    "view_store": ["breakers", "pools", "stores"],
    "view_slowstatement": ["slow-queries"],
    "view_event": ["spool"],
}
ALL = [name for names in OF_PERMISSION.values() for name in names]


class _Tiles(HTMLParser):
    """The tiles by their id: where each leads, whether it is marked, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles: dict[str, dict[str, str]] = {}
        self._name = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        named = dict(attrs)
        if tag == "li" and named.get("id", "").startswith("tile-"):
            self._name = named["id"].removeprefix("tile-")
        elif tag == "a" and self._name:
            self.tiles[self._name] = {"url": named["href"], "class": named["class"], "text": ""}

    def handle_endtag(self, tag: str) -> None:
        if tag == "li":
            self._name = ""

    def handle_data(self, data: str) -> None:
        if self._name in self.tiles:
            self.tiles[self._name]["text"] += data


def tiles_of(response) -> dict[str, dict[str, str]]:
    assert response.status_code == 200
    parser = _Tiles()
    parser.feed(response.content.decode())
    return parser.tiles


def bad(tiles: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, tile in tiles.items() if tile["class"] == "bad"}


def staff_with(*codenames: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def operator() -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("ann"))
    return browser


class TestTiles:
    @pytest.mark.parametrize("url", [PAGE, TILES])
    def test_each_leads_to_a_page_and_is_shown_on_both(self, operator, url):
        tiles = tiles_of(operator.get(url))

        assert list(tiles) == ALL
        for tile in tiles.values():
            page, _, section = tile["url"].partition("#")
            text = operator.get(page).content.decode()
            assert not section or f'id="{section}"' in text, tile["url"]

    def test_the_hit_rate_is_that_of_the_metrics_and_of_the_last_minutes(self, api, operator):
        note_id = make_note()
        for _ in range(4):
            api.get(f"/api/v1/notes/{note_id}")
        popularity.flush()

        tile = tiles_of(operator.get(TILES))["hit-rate"]

        figures = Client().get("/api/v1/metrics/cache").json()
        assert f"{figures['hit_rate']:.1%}" in tile["text"]
        assert f"{figures['hits']} hits, {figures['misses']} misses" in tile["text"]
        assert "last 5 minutes: 75.0%" in tile["text"]

    def test_say_memory_versions_and_pools(self, operator):
        tiles = tiles_of(operator.get(TILES))

        assert "of 256.0" in tiles["redis"]["text"]
        for product in ("PostgreSQL", "MongoDB", "Valkey"):
            assert re.search(rf"{product} \d+\.\d+", tiles["stores"]["text"]), product
        assert re.search(r"PostgreSQL: \d+ in use, \d+ idle", tiles["pools"]["text"])
        assert not bad(tiles) & {"redis", "outbox", "breakers", "stores", "slow-queries"}

    def test_an_invalidation_that_nobody_delivers_is_marked(self, operator):
        OutboxRow.objects.create(tags=[])
        age_seconds = dashboard._OUTBOX_LATE_SECONDS + 1
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE cachelayer_outbox SET created_at = now() - make_interval(secs => %s),"
                " is_intent = true, due_at = now() + interval '1 hour'",
                [age_seconds],
            )

        tiles = tiles_of(operator.get(TILES))

        assert "1 row" in tiles["outbox"]["text"]
        assert "outbox" in bad(tiles)

    def test_the_newest_slow_query_is_shown(self, operator):
        row = {"at": 1.0, "store": "postgres", "kind": "SELECT", "statement": "SELECT 1"}
        of_request = {"fingerprint": "f1", "endpoint": "notes", "request_id": "r-1"}
        for duration_ms in (1500, 2500):
            slow_queries.SLOW.add(row | of_request | {"duration_ms": duration_ms})
        capped_list.flush()

        text = tiles_of(operator.get(TILES))["slow-queries"]["text"]

        assert "slow queries 2 the newest" in " ".join(text.split())
        assert "2500 ms in postgres" in text

    def test_what_the_spool_lacks_is_marked(self, operator):
        folder = activity.own_spool().folder
        (folder / "1700000000000-0123456789.2.damaged").write_bytes(b"x")

        tiles = tiles_of(operator.get(TILES))

        assert "2 acknowledged events may be in 1 damaged files" in tiles["spool"]["text"]
        assert "spool" in bad(tiles)
        assert "1 damaged files" in operator.get(tiles["spool"]["url"]).content.decode()

    def test_a_spool_that_cannot_be_read_says_so(self, operator, settings, tmp_path):
        settings.ACTIVITY_SPOOL_DIR = str(tmp_path / "file")
        Path(settings.ACTIVITY_SPOOL_DIR).write_text("no folder")

        tiles = tiles_of(operator.get(TILES))

        assert list(tiles) == ALL
        assert "unreadable" in tiles["spool"]["text"]
        assert "cannot be read" in operator.get(tiles["spool"]["url"]).content.decode()


class TestPermissions:
    @pytest.mark.parametrize("codename", OF_PERMISSION)
    def test_a_tile_is_for_those_who_may_view_its_page(self, codename):
        browser = staff_with(codename)

        tiles = tiles_of(browser.get(PAGE))

        assert list(tiles) == OF_PERMISSION[codename]
        assert all(browser.get(tile["url"]).status_code == 200 for tile in tiles.values())

    def test_who_may_view_none_sees_none_and_costs_nothing(self):
        browser = staff_with()
        page = browser.get(PAGE).content.decode()

        assert "dashboard.js" not in page
        assert 'id="dashboard"' not in page
        assert sent_by(lambda: browser.get(TILES)) == 0
        assert tiles_of(browser.get(TILES)) == {}

    @pytest.mark.parametrize("url", [PAGE, TILES])
    def test_visitors_and_customers_are_sent_to_the_login_page(self, url):
        customer = Client()
        customer.force_login(User.objects.create_user("eve"))

        for browser in (Client(), customer):
            response = browser.get(url)
            assert response.status_code == 302
            assert response["Location"].startswith("/admin/login/")

    def test_reads_alone_are_accepted(self, operator):
        assert operator.post(TILES).status_code == 405


class TestPolicy:
    @pytest.mark.parametrize("url", [PAGE, TILES])
    def test_no_script_and_no_style_is_within_the_page(self, operator, url):
        response = operator.get(url)
        page = response.content.decode()

        policy = response["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))

    def test_what_it_loads_is_there(self, operator):
        page = operator.get(PAGE).content.decode()

        for name in ("dashboard.js", "dashboard.css"):
            assert f"/static/{name}" in page
            assert finders.find(name)

    def test_a_refresh_is_not_stored_and_announces_nothing(self, operator):
        response = operator.get(TILES)

        assert "no-store" in response["Cache-Control"]
        assert not re.search(r"aria-live|role=", response.content.decode())

    def test_the_script_finds_what_it_needs(self, operator):
        page = operator.get(PAGE).content.decode()
        script = Path(str(finders.find("dashboard.js"))).read_text()

        for name in re.findall(r'getElementById\("([\w-]+)"\)', script):
            assert f'id="{name}"' in page, name
        assert f'data-url="{TILES}" data-refresh-seconds="5"' in page
        assert resolve(TILES).url_name == "tiles"


@pytest.fixture
def sent(monkeypatch):
    """Statements and commands that this thread sends to PostgreSQL and Redis; the lease has its own thread."""
    here = threading.get_ident()
    statements: list[str] = []
    commands: list[tuple[str, ...]] = []
    execute = psycopg.Cursor.execute
    execute_command = redis.Redis.execute_command
    execute_pipeline = redis.client.Pipeline.execute

    def note_statement(cursor, query, *args, **kwargs):
        if threading.get_ident() == here:
            statements.append(str(query))
        return execute(cursor, query, *args, **kwargs)

    def note_command(client, *args, **kwargs):
        if threading.get_ident() == here:
            commands.append((str(args[0]),))
        return execute_command(client, *args, **kwargs)

    def note_pipeline(pipeline, *args, **kwargs):
        if threading.get_ident() == here:
            commands.append(tuple(str(command[0][0]) for command in pipeline.command_stack))
        return execute_pipeline(pipeline, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", note_statement)
    monkeypatch.setattr(redis.Redis, "execute_command", note_command)
    monkeypatch.setattr(redis.client.Pipeline, "execute", note_pipeline)
    return statements, commands


class TestCost:
    def test_of_a_refresh_is_the_same_however_much_is_stored(self, operator, api, sent):
        statements, commands = sent
        tiles_of(operator.get(TILES))
        before = None
        for rows in (0, 300):
            make_notes(rows)
            for note in range(rows and 20):
                api.get(f"/api/v1/notes?userId=abc&limit=5&page={note + 1}")
            statements.clear()
            commands.clear()

            of_mongodb = sent_by(lambda: tiles_of(operator.get(TILES)))

            cost = (len(statements), len(commands), of_mongodb)
            assert before in (None, cost)
            before = cost
        # The user, the outbox, the server; the session, INFO, five minutes, the slow queries; serverStatus.
        assert before == (3, 4, 1), (statements, commands)
        assert [names for names in commands if {"SCAN", "KEYS", "DBSIZE"} & set(names)] == []
        counted = [text for text in statements if "count(" in text.lower()]
        assert all("LIMIT" in text or "pg_stat_activity" in text for text in counted)

    def test_the_outbox_is_counted_up_to_a_bound(self, monkeypatch, operator):
        monkeypatch.setattr(outbox, "DEPTH_MAX", 3)
        later = "INSERT INTO cachelayer_outbox (tags, due_at, is_intent) SELECT '{}',"
        with connection.cursor() as cursor:
            cursor.execute(f"{later} now() + interval '1 hour', true FROM generate_series(1, 5)")

        assert outbox.depth_and_age()[0] == 3
        assert "3 or more rows" in tiles_of(operator.get(TILES))["outbox"]["text"]


class TestStoresDown:
    def test_without_redis_its_tiles_say_so(self, operator, stack, closed_breaker):
        tiles_of(operator.get(TILES))
        stack.kill("redis")
        try:
            first, second = operator.get(PAGE), operator.get(TILES)
        finally:
            stack.start("redis")

        for response in (first, second):
            tiles = tiles_of(response)
            assert list(tiles) == ALL
            assert "does not answer" in tiles["redis"]["text"]
            assert "Redis: no answer" in tiles["stores"]["text"]
            assert "open: Redis" in tiles["breakers"]["text"]
            assert "unknown" in tiles["slow-queries"]["text"]
            assert {"redis", "stores", "breakers", "slow-queries"} <= bad(tiles)

    def test_without_mongodb_nothing_waits_for_it(self, operator, mongodb_restored):
        mongodb_restored.kill("mongodb")
        assert wait_until(
            lambda: tiles_of(operator.get(TILES)) and mongodb_client.breaker.is_open, 30
        )

        of_mongodb = sent_by(lambda: tiles_of(operator.get(TILES)))

        tiles = tiles_of(operator.get(TILES))
        assert of_mongodb == 0
        assert "MongoDB: no answer" in tiles["stores"]["text"]
        assert "open: MongoDB" in tiles["breakers"]["text"]
        assert {"stores", "breakers"} <= bad(tiles)
        assert "outbox" not in bad(tiles)

    def test_a_mongodb_that_is_frozen_is_waited_for_a_few_times_at_the_most(
        self, operator, mongodb_restored
    ):
        tiles_of(operator.get(TILES))
        mongodb_restored.pause("mongodb")
        try:
            for _ in range(5):
                tiles = tiles_of(operator.get(TILES))
                assert "MongoDB: no answer" in tiles["stores"]["text"]
                if mongodb_client.breaker.is_open:
                    break
            assert mongodb_client.breaker.is_open
        finally:
            mongodb_restored.resume("mongodb")

    def test_without_postgresql_nobody_can_be_admitted_and_the_reply_names_it(
        self, operator, restored
    ):
        restored.kill("postgres")

        replies = [operator.get(url) for url in (TILES, PAGE)]

        for reply in replies:
            assert reply.status_code == 503
            assert reply["Content-Type"].startswith("application/problem+json")
            assert reply.json()["detail"] == "The store postgres does not answer."

    def test_a_postgresql_that_stops_during_the_request_has_tiles_that_say_so(self, restored):
        request = RequestFactory().get(TILES)
        request.user = User.objects.create_superuser("ann")
        restored.kill("postgres")
        try:
            tiles = {tile.name: tile for tile in dashboard.tiles(request)}
        finally:
            restored.up()
            outages.breaker.reset()

        assert tiles["outbox"].value == "does not answer"
        assert tiles["stores"].value == "PostgreSQL: no answer"
        assert tiles["outbox"].is_bad
        assert tiles["stores"].is_bad
