"""What a process of the site does for the cache besides answering: relay, count, warm."""

import threading

import structlog
from django.db import DatabaseError, InterfaceError, connections

from cachelayer import client, popularity, relay, warming
from cachelayer.namespaces import declared

log = structlog.get_logger("cachelayer")


def start() -> None:
    """
    Start the background threads of this process; call it once, after any fork.

    What is cached is trusted only after the outbox was drained once, since the processes that
    ran before may have left invalidations behind. Requests do not wait for that.
    """
    client.breaker.start_open()
    relay.start_in_background()
    threading.Thread(target=_count, name="cache-counts", daemon=True).start()
    threading.Thread(target=_warm, name="cache-warming", daemon=True).start()


def _count() -> None:
    pause = threading.Event()
    while True:
        pause.wait(popularity.FLUSH_SECONDS)
        try:
            popularity.flush()
        except client.CacheDown:
            log.debug("counts of reads lost")  # told by the breaker; they only rank


def _warm() -> None:
    """Load what was read most, once the cache is trusted; one process does it for all."""
    pause = threading.Event()
    while client.breaker.is_open:
        pause.wait(0.1)
    try:
        if warming.take_turn():
            loaded = {one.name: warming.warm(one) for one in declared() if one.warms}
            log.info("cache warmed", operation="warm", loaded=loaded)
    except (client.CacheDown, DatabaseError, InterfaceError) as exc:
        log.info("cache not warmed", operation="warm", reason=str(exc).split("\n")[0])
    finally:
        connections.close_all()
