"""The Stores page of the admin: versions, breakers, pools, latencies and errors of the three servers."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from cachelayer import prometheus, stats
from config.admin.dashboard import versions_of
from config.models import Store
from config.observability import database_metrics
from config.web.admin_pages import ReadOnlyPage


@admin.register(Store)
class StoreAdmin(ReadOnlyPage):
    """The figures of /api/v1/metrics/db, and those of Redis, in place of the rows of a table."""

    template = "admin/config/stores.html"

    def contents(self, request: HttpRequest) -> dict[str, Any]:
        samples = prometheus.samples()
        cache = stats.cache_figures(with_sizes=False, samples=samples)
        databases = database_metrics.snapshot(samples)
        postgres, mongodb = databases["postgres"], databases["mongodb"]
        return {
            "title": "Stores",
            "versions": versions_of(cache, databases),
            "servers": {"PostgreSQL": postgres["server"], "MongoDB": mongodb["server"]},
            "breakers": {
                "Redis": cache["breaker"]["open"],
                "PostgreSQL": postgres["breaker_open"],
                "MongoDB": mongodb["breaker_open"],
            },
            "pools": {"PostgreSQL": postgres, "MongoDB": mongodb},
            "replica": postgres["replica"],
            "latencies": {
                "PostgreSQL, a statement": postgres["latency_ms"],
                **{f"MongoDB, {name}": row for name, row in sorted(mongodb["commands"].items())},
                **{f"Redis, {name}": row for name, row in sorted(cache["operations"].items())},
            },
            "store_errors": [
                (store, kind, count)
                for store, row in (("PostgreSQL", postgres), ("MongoDB", mongodb))
                for kind, count in sorted(row["errors"].items())
            ],
            "postgres": postgres,
        }
