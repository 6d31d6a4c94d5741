"""Loading an entry again in the background, before its time is over."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from django.db import connections

from cachelayer import protocol
from cachelayer.client import CacheDown
from cachelayer.load import load_with_ticket
from cachelayer.namespace import Key

V = TypeVar("V")
log = structlog.get_logger("cachelayer")

_THREADS = 2
_WAITING_MAX = 64  # further refreshes are left to the next reader

_lock = threading.Lock()
_under_way: set[str] = set()
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="cache-refresh")  # starts no thread yet


def refresh(key: Key[V], load: Callable[[], V | None]) -> bool:
    """
    Load key again in a background thread, unless that is under way here or in another process.

    Return whether it was started. The entry is served as it is meanwhile; where the load fails
    it stays until its TTL.
    """
    with _lock:
        if key.entry_name in _under_way or len(_under_way) >= _WAITING_MAX:
            return False
        _under_way.add(key.entry_name)
    _pool.submit(_refresh, key, load)
    return True


def _refresh(key: Key[Any], load: Callable[[], Any]) -> None:
    try:
        ticket = protocol.begin(key)
        if ticket.leased:
            load_with_ticket(key, load, ticket)
    except CacheDown:
        pass  # counted where it was noticed
    except Exception as exc:  # noqa: BLE001  # nobody waits for this load: whoever needs it will see
        log.info("refresh failed", key=key.name, reason=str(exc))
    finally:
        with _lock:
            _under_way.discard(key.entry_name)
        connections.close_all()  # back to the pool: this thread may be idle for hours
