"""Notes read over HTTP and written behind the API's back."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import redis

from loadtests.generators.http_load import Call, connected, create_note, fetch, json_call
from loadtests.testbed.site import Site

TOKEN: Final = "direct-write"  # noqa: S105  # of a site that lives for a minute, on loopback
GRACE_SECONDS: Final = (
    600  # the site's CACHE_GRACE_SECONDS, which an entry's time in Redis includes
)
_USER: Final = "direct"
_STAFF: Final = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Response:
    """What a read was answered."""

    status: int
    title: str  # empty for a 304
    cache: str  # Cache-Status, without the name of the cache
    etag: str

    @property
    def is_hit(self) -> bool:
        """Whether it came from the cache."""
        return self.cache.startswith("hit")


class Notes:
    """The API on a keep-alive connection, psql beside it, and Redis as its operator sees it."""

    def __init__(
        self, site: Site, connection: http.client.HTTPConnection, psql: Any, server: redis.Redis
    ) -> None:
        self._site = site
        self._url = site.url
        self._http = connection
        self._psql = psql
        self._redis = server

    def create(self, title: str) -> str:
        """Return the id of a new note, once nothing invalidates it any more."""
        note = create_note(self._url, _USER, title)
        self._site.wait_for_outbox()
        return note

    def change(self, note: str, title: str) -> None:
        """Write the title through the API, and return once nothing invalidates it any more."""
        fetch(self._url, json_call(_USER, f"/api/v1/notes/{note}", {"title": title}, "PATCH"))
        self._site.wait_for_outbox()

    def read(self, note: str, *, query: str = "", etag: str = "") -> Response:
        """GET the note; with an etag, by If-None-Match."""
        headers = {"If-None-Match": etag} if etag else {}
        self._http.request("GET", f"/api/v1/notes/{note}{query}", headers=headers)
        response = self._http.getresponse()
        body = response.read()
        return Response(
            response.status,
            json.loads(body)["title"] if body else "",
            response.headers.get("Cache-Status", "").removeprefix("trilith; "),
            response.headers.get("ETag", ""),
        )

    def write_past_api(self, note: str, title: str) -> None:
        """UPDATE the title by SQL; it is committed on return."""
        self._psql.execute("UPDATE notes SET title = %s WHERE id = %s", [title, note])

    def title_in_database(self, note: str) -> str:
        """Return what a SELECT says."""
        (title,) = self._psql.execute("SELECT title FROM notes WHERE id = %s", [note]).fetchone()
        return str(title)

    def seconds_left(self, note: str) -> float:
        """Return how long the note's copy is fresh, as Redis has it."""
        left_ms = int(self._redis.pttl(f"trilith:v1:notes:{note}"))
        return left_ms / 1000 - GRACE_SECONDS

    def clear(self) -> None:
        """Clear the cache as an operator does."""
        fetch(self._url, Call("", "/api/v1/admin/cache/clear", "POST", _STAFF))

    @contextmanager
    def triggers_off(self) -> Iterator[None]:
        """Disable the triggers, so that an UPDATE by SQL invalidates nothing; enable them in any case."""
        try:
            self._psql.execute("ALTER TABLE notes DISABLE TRIGGER USER")
            yield
        finally:
            self.triggers_on()

    def triggers_on(self) -> None:
        """Enable the triggers; harmless where they are on."""
        self._psql.execute("ALTER TABLE notes ENABLE TRIGGER USER")


@contextmanager
def notes_of(site: Site) -> Iterator[Notes]:
    """Yield the notes of a site, with the triggers on, also if a killed run has left them off."""
    urls = site.stack.operator_urls()
    with (
        connected(site.url) as connection,
        psycopg.connect(urls["DATABASE_URL"], autocommit=True) as psql,
        redis.Redis.from_url(urls["REDIS_URL"]) as server,
    ):
        notes = Notes(site, connection, psql, server)
        notes.triggers_on()
        yield notes
