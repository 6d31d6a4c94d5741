"""manage.py slow_queries: statements slower than SLOW_QUERY_MS, grouped by shape."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cachelayer.client import CacheDown
from config.management.bounds import check_bounds
from config.observability import slow_queries
from config.observability.generic_plans import NoPlan, generic_plan


class Command(BaseCommand):
    help = "List slow statements by shape, the highest total time first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--store", choices=("postgres", "mongodb", "redis"))
        parser.add_argument("--limit", type=int, default=20, help="number of shapes (default: 20)")
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument(
            "--explain", metavar="FINGERPRINT", help="show the generic plan of this SELECT instead"
        )

    def handle(
        self, *args: Any, store: str | None, limit: int, explain: str | None, **options: Any
    ) -> None:
        check_bounds({"limit": limit}, {"limit": (1, 10_000)})
        try:
            shapes = slow_queries.slow_statements(store)
        except CacheDown as exc:
            raise CommandError("Redis does not answer; the log has every slow query.") from exc
        if explain:
            self._explain(shapes, explain)
        elif options["json"]:
            self.stdout.write(json.dumps(shapes[:limit], indent=1))
        elif not shapes:
            self.stdout.write("No slow query is stored.")
        else:
            self._table(shapes[:limit])

    def _table(self, shapes: list[dict[str, Any]]) -> None:
        self.stdout.write(
            f"{'total ms':>10} {'count':>6} {'mean ms':>9} {'max ms':>9}  store     fingerprint"
        )
        for shape in shapes:
            self.stdout.write(
                f"{shape['total_ms']:>10.1f} {shape['count']:>6} {shape['mean_ms']:>9.1f} "
                f"{shape['max_ms']:>9.1f}  {shape['store']:<9} {shape['fingerprint']}"
            )
            self.stdout.write(f"{'':11}{', '.join(shape['endpoints'])}: {shape['statement']}")

    def _explain(self, shapes: list[dict[str, Any]], fingerprint: str) -> None:
        shape = next((row for row in shapes if row["fingerprint"] == fingerprint), None)
        if shape is None:
            raise CommandError(f"No statement with the fingerprint {fingerprint} is stored.")
        if shape["store"] != "postgres":
            raise CommandError("Only statements of PostgreSQL can be explained.")
        try:
            self.stdout.write(f"{shape['statement']}\n\n{generic_plan(shape['statement'])}")
        except NoPlan as exc:
            raise CommandError(str(exc)) from exc
