"""Logs: one JSON object a line in production, plain text on a terminal, each with its request's ids."""

import contextlib
import logging
import logging.config
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal

import msgspec
import structlog

# Frames' local variables stay out of the logs: a pool's arguments hold the database password.
_EXCEPTIONS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


# The ids of the request that this thread answers, or has answered last; in each of its lines. structlog's
# own context variables are looked for among all that there are, several times in each request.
request_fields: Final[ContextVar[Mapping[str, str] | None]] = ContextVar(
    "request_fields", default=None
)


class _Printer(structlog.PrintLogger):
    """Prints lines. Where that fails, as on a full disk, the line is lost, and nothing else."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the file is closed
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _add_request_fields(_logger: Any, _method: str, event: Any) -> Any:
    fields = request_fields.get()
    if fields is not None and "request_id" not in event:  # else it is of another request
        event.update(fields)
    return event


def _to_json(event: Any, default: Any, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=default).decode()


def _rendering(form: Literal["json", "console"]) -> list[Any]:
    if form == "console":
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [_EXCEPTIONS, structlog.processors.JSONRenderer(serializer=_to_json)]


def configure(*, level: str, form: Literal["json", "console"]) -> None:
    """
    Send structlog's and the standard library's records to standard error, in one format.

    level: a name of the standard library, such as INFO; form: json or console.
    Raises ValueError if level is not one of them.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None or form not in ("json", "console"):
        raise ValueError(f"LOG_LEVEL={level!r}, LOG_FORMAT={form!r}: unknown level or format")
    shared: list[Any] = [
        _add_request_fields,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *_rendering(form)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Printer(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_standard_library(threshold, shared, form))


def _standard_library(
    threshold: int, shared: list[Any], form: Literal["json", "console"]
) -> dict[str, Any]:
    """Return the configuration by which other libraries' lines look like ours."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [
            *shared,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=["status_code"]),
        ],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_rendering(form),
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": threshold},
        "loggers": {
            # config.observability.middleware logs each request; Django's own line would be a second.
            "django.request": {"level": "ERROR"},
            "django.server": {"level": "ERROR"},
            # Below INFO it logs each command with its data.
            "pymongo": {"level": max(threshold, logging.INFO)},
            # It logs a traceback for each probe of a store that is down; the reply says so already.
            "health_check": {"level": "ERROR"},
            # It logs each attempt; config.observability.telemetry logs a change once.
            "opentelemetry.exporter": {"level": "CRITICAL"},
            # That its queue is full, which is so as long as the exporter fails.
            "opentelemetry.sdk": {"level": "ERROR"},
            # Pool warnings repeat once a second while PostgreSQL is down; the breaker logs it once.
            "psycopg.pool": {"level": "ERROR"},
        },
    }
