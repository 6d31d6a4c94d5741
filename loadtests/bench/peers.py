"""The site's peers, started beside it on its servers: see loadtests.peers."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Final

import redis

from config.stack.site import SPARE_THREADS, WEB_THREADS
from loadtests.generators.http_load import Call, UnexpectedResponse, connected
from loadtests.testbed.site import Site, peer_of

SITE_THREADS: Final = WEB_THREADS + SPARE_THREADS  # as make run serves it
SITE: Final = "Trilith"
BARE: Final = "bare function"
DRF: Final = "DRF"
CACHEOPS: Final = "DRF, cacheops"
_BARE_APPLICATION: Final = "loadtests.peers.bare:application"
_DRF_APPLICATION: Final = "loadtests.peers.drf:application"
_HIT_ATTEMPTS: Final = 200
_HIT_PAUSE_SECONDS: Final = 0.05
# The server adds these to a response of its own accord.
_OF_SERVER: Final = {"date", "server", "connection", "transfer-encoding"}


@contextmanager
def running(site: Site, recorded: Sequence[Call]) -> Iterator[dict[str, Site]]:
    """
    Yield the site and its peers, by name; the bare function returns what the site returns to the calls.

    Raises StackError where one does not start, UnexpectedResponse where the site does not answer 200.
    """
    urls = site.stack.operator_urls()  # the superuser may leave the triggers of a table out
    database = {"DATABASE_URL": urls["DATABASE_URL"]}
    other_database = f"{urls['REDIS_URL'].rpartition('/')[0]}/1"
    cached = database | {"REDIS_URL": other_database}
    file = site.stack.folder / "bare.json"
    file.write_text(json.dumps({call.path: _record(site, call) for call in recorded}))
    bare = {"BARE_RESPONSES": str(file)}
    with redis.Redis.from_url(other_database) as client:
        client.flushdb()  # what was cached of another run's notes
    with ExitStack() as stack:
        stack.callback(site.manage, "cache", "clear")  # of what the peers have written
        yield {
            SITE: site,
            BARE: stack.enter_context(
                peer_of(site, _BARE_APPLICATION, threads=SITE_THREADS, variables=bare)
            ),
            **{
                name: stack.enter_context(
                    peer_of(site, _DRF_APPLICATION, threads=WEB_THREADS, variables=variables)
                )
                for name, variables in ((DRF, database), (CACHEOPS, cached))
            },
        }


def _record(site: Site, call: Call) -> tuple[list[tuple[str, str]], str]:
    """Return headers and body of a hit, which there may only be a while after the site's start."""
    pause = Event()
    with connected(site.url) as connection:
        for _ in range(_HIT_ATTEMPTS):
            connection.request(call.method, call.path)
            response = connection.getresponse()
            body = response.read().decode()
            if "; hit" in response.headers.get("Cache-Status", ""):
                headers = response.getheaders()
                return [header for header in headers if header[0].lower() not in _OF_SERVER], body
            if response.status != 200:
                raise UnexpectedResponse(f"{call.path}: status {response.status}")
            pause.wait(_HIT_PAUSE_SECONDS)
    raise UnexpectedResponse(f"{call.path}: no response was a hit")
