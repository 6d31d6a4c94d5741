"""Threads in the background: started again when they die of an unexpected error, counted, and seen."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from django.db import connections

from cachelayer import metrics, prometheus

log = structlog.get_logger("cachelayer")

FAILURE_SHOWN_SECONDS: Final = 60.0  # for so long health calls a thread that failed degraded
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_SETTLED_SECONDS: Final = 60.0  # having run for so long, the next pause is the first again


def supervise(
    name: str, run: Callable[[], None], *, stopping: threading.Event | None = None
) -> threading.Thread:
    """
    Run run in a daemon thread of that name, until it returns; return the thread.

    run handles the errors that it expects. Where it raises, the error is logged and counted, the
    thread's database connections are closed, and run is called again after a pause that doubles
    from 0.5 s to 30 s, with jitter. stopping, once set, ends that.
    """
    metrics.THREAD_FAILURES.labels(name)  # at 0, so that the first failure is an increase
    thread = threading.Thread(
        target=_keep_running,
        args=(name, run, stopping or threading.Event()),
        name=name,
        daemon=True,
    )
    thread.start()
    return thread


def failed(name: str) -> None:
    """Count an error that the thread has survived, or not, and have health tell of it."""
    metrics.THREAD_FAILURES.labels(name).inc()
    metrics.THREAD_FAILED_AT.labels(name).set_to_current_time()


def recent_failures() -> dict[str, float]:
    """Return {thread: seconds since it last failed}, over all processes, of the last minute."""
    now = time.time()
    failed_at: dict[str, float] = {}
    for sample in prometheus.samples().get("cachelayer_thread_failed_timestamp_seconds", []):
        name = sample.labels["thread"]
        failed_at[name] = max(failed_at.get(name, 0.0), sample.value)
    # A time to come is that of a clock that was set back since.
    return {
        name: now - at for name, at in failed_at.items() if 0 <= now - at < FAILURE_SHOWN_SECONDS
    }


def _keep_running(name: str, run: Callable[[], None], stopping: threading.Event) -> None:
    pause_seconds = _FIRST_PAUSE_SECONDS
    while not stopping.is_set():
        started = time.monotonic()
        try:
            run()
        except Exception:  # whatever it is: a dead thread would be missed by nobody
            failed(name)
            with contextlib.suppress(Exception):  # of a log on a full disk
                log.exception("background thread failed", thread=name)
        else:
            return
        finally:
            connections.close_all()
        if time.monotonic() - started > _SETTLED_SECONDS:
            pause_seconds = _FIRST_PAUSE_SECONDS
        stopping.wait(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
