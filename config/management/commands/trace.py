"""manage.py trace REQUEST_ID: what one request did in Redis, PostgreSQL and MongoDB, in order."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cachelayer.client import CacheDown
from config.observability.traces import traces_of


class Command(BaseCommand):
    help = "Show what one request did in each store, step by step, in milliseconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request_id", help="X-Request-ID of the reply, also in its log lines")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, request_id: str, **options: Any) -> None:
        try:
            traces = traces_of(request_id)
        except CacheDown as exc:
            raise CommandError("Redis, which stores the traces, does not answer.") from exc
        if not traces:
            raise CommandError(
                f"No trace of {request_id} is stored. Traces are stored of requests slower than "
                "SLOW_QUERY_MS, of those that staff send with X-Trace: 1, and of TRACE_SHARE of the "
                "others; the newest 100 of each."
            )
        if options["json"]:
            self.stdout.write(json.dumps(traces, indent=1))
            return
        for trace in traces:
            self._write(trace)

    def _write(self, trace: dict[str, Any]) -> None:
        at = datetime.fromtimestamp(trace["at"], UTC)
        self.stdout.write(
            f"{trace['method']} {trace['path']} ({trace['endpoint'] or 'no endpoint'}): "
            f"{trace['status']} after {trace['duration_ms']:.2f} ms; ended {at:%Y-%m-%d %H:%M:%S} UTC; "
            f"stored because {trace['reason']}"
        )
        self.stdout.write(f"{'at ms':>9} {'took ms':>9}  store     statement")
        spent: dict[str, float] = defaultdict(float)
        for at_ms, took_ms, store, statement in trace["steps"]:
            spent[store] += took_ms
            self.stdout.write(f"{at_ms:>9.2f} {took_ms:>9.2f}  {store:<9} {statement}")
        if trace["left_out"]:
            self.stdout.write(f"{'':21}and {trace['left_out']} more steps")
        spent["elsewhere"] = max(0.0, trace["duration_ms"] - sum(spent.values()))
        totals = ", ".join(f"{store} {took_ms:.2f} ms" for store, took_ms in spent.items())
        self.stdout.write(f"{trace['duration_ms']:>9.2f} {'':9}  replied: {totals}")
