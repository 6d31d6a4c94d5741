"""manage.py pool_advice: the size of each process's PostgreSQL pool, with the reasons."""

import os
import threading
from typing import Any, Final

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from cachelayer import prometheus
from config.management.bounds import check_bounds
from config.postgres import pool_sizing
from config.postgres.pool_sizing import Load, Site
from config.postgres.server import Capacity, capacity

_BINDING: Final = {
    "load": "the measured load, which holds connections for longer than the server works on them",
    "formula": "the formula: more connections would only wait inside the server",
    "threads": "the threads of a process, which can use no more connections",
    "server": "the server, which accepts no more connections",
}

_BOUNDS: Final = {
    "seconds": (0.01, 3_600),
    "rate": (0, 1_000_000),
    "hold_ms": (0, 3_600_000),
    "cores": (1, 10_000),
    "spindles": (0, 10_000),
    "workers": (1, 10_000),
    "threads": (1, 10_000),
}


class Command(BaseCommand):
    help = "Recommend a pool size for each process. Run it while the site is under load."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seconds", type=float, default=10.0, help="how long to measure (default: 10)"
        )
        parser.add_argument(
            "--rate", type=float, help="connections borrowed per second, instead of measuring"
        )
        parser.add_argument(
            "--hold-ms", type=float, help="mean time a connection is held, instead of measuring"
        )
        cores = os.cpu_count() or 1
        parser.add_argument("--cores", type=int, default=cores, help="cores of the database server")
        parser.add_argument(
            "--spindles",
            type=int,
            default=1,
            help="disks of the database server (an SSD counts as 1)",
        )
        parser.add_argument("--workers", type=int, default=settings.WEB_WORKERS)
        parser.add_argument("--threads", type=int, default=settings.WEB_THREADS)

    def handle(self, *args: Any, **options: Any) -> None:
        check_bounds(options, _BOUNDS)
        try:
            server = capacity()
        except psycopg.Error as exc:
            raise CommandError("PostgreSQL does not answer.") from exc
        load = self._load(options["seconds"], options["rate"], options["hold_ms"])
        cores, spindles = options["cores"], options["spindles"]
        workers, threads = options["workers"], options["threads"]
        site = Site(workers, threads, settings.POSTGRES_POOL_MAX)
        at_once = pool_sizing.formula(cores, spindles)
        ours = int(prometheus.total(prometheus.samples(), "postgres_pool_connections"))
        others = max(0, server.connections - ours)
        advice = pool_sizing.advise(
            load=load, at_once=at_once, usable=max(0, server.usable_connections - others), site=site
        )
        write = self.stdout.write
        write(f"{'':28}{'each of':>10}\n{'':28}{workers:>3} processes   because")
        write(f"{'load (Little)':28}{_cell(advice.load)}   {self._of_load(load)}")
        write(f"{'formula':28}{advice.formula:>10}   {cores} cores x 2 + {spindles} = {at_once}")
        write(
            f"{'at most, by threads':28}{advice.threads:>10}   "
            f"WEB_THREADS {threads} + {pool_sizing.BACKGROUND} in the background"
        )
        write(f"{'at most, by the server':28}{advice.server:>10}   {_of_server(server, others)}")
        write(f"{'POSTGRES_POOL_MAX now':28}{site.pool_max:>10}   {_of_break(site, load)}")
        write(f"\nThe limit is {_BINDING[advice.binds]}.")
        write(_verdict(advice.pool_max, site, server))

    def _load(self, seconds: float, rate: float | None, hold_ms: float | None) -> Load | None:
        """Return the load from the options, or measured over all processes."""
        if (rate is None) != (hold_ms is None):
            raise CommandError("--rate and --hold-ms must be given together.")
        if rate is not None and hold_ms is not None:
            return Load(rate, hold_ms / 1000)
        self.stderr.write(f"Measuring for {seconds:g} s ...")
        before = prometheus.samples()
        threading.Event().wait(seconds)
        return pool_sizing.measured(before, prometheus.samples(), seconds)

    def _of_load(self, load: Load | None) -> str:
        if load is None:
            return (
                "no connection was borrowed: run this under load, with the site's "
                "PROMETHEUS_MULTIPROC_DIR, or give --rate and --hold-ms"
            )
        return (
            f"{load.rate:.1f}/s x {load.hold_seconds * 1000:.2f} ms = {load.busy:.2f} in use on average; "
            "this process's share plus two standard deviations"
        )


def _cell(number: int | None) -> str:
    return f"{'-' if number is None else number:>10}"


def _of_server(server: Capacity, others: int) -> str:
    return (
        f"max_connections {server.max_connections}, {server.usable_connections} for this user, "
        f"{others} of them in use by others"
    )


def _of_break(site: Site, load: Load | None) -> str:
    total = site.workers * site.pool_max
    if load is None or not load.hold_seconds:
        return f"{total} in all"
    return f"{total} in all: exhausted at {total / load.hold_seconds:.0f}/s with this hold time"


def _verdict(pool_max: int, site: Site, server: Capacity) -> str:
    lines = []
    if site.workers * (site.pool_max + pool_sizing.BACKGROUND) > server.usable_connections:
        lines.append(
            f"Together the pools exceed the server's {server.usable_connections} connections."
        )
    if pool_max == site.pool_max:
        lines.append(f"POSTGRES_POOL_MAX={pool_max} is right.")
    else:
        lines.append(f"Set POSTGRES_POOL_MAX={pool_max}.")
    return "\n".join(lines)
