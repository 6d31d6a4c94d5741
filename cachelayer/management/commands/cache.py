"""manage.py cache stats | explain KEY | clear [NAMESPACE] | warm | audit."""

import argparse
import getpass
import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress

from cachelayer import audit, explain, stats, warming
from cachelayer.audit import Audit
from cachelayer.client import CacheDown
from cachelayer.failures import unavailable_store
from cachelayer.invalidation import clear
from cachelayer.namespace import NoSuchKey, declared, named


class Command(BaseCommand):
    help = "Look into the cache, clear it, warm it, and check it against the stores."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("stats", help="the figures of /api/v1/metrics/cache, as JSON")
        explain = actions.add_parser("explain", help="whether one key is cached, and why not")
        explain.add_argument("key", help="such as books:{isbn}")
        clearing = actions.add_parser("clear", help="make every entry unservable")
        clearing.add_argument("namespace", nargs="?", help="all namespaces, where left out")
        actions.add_parser("warm", help=f"load the {warming.HOTTEST} most read of each namespace")
        audit = actions.add_parser("audit", help="compare cached entries with the stores")
        audit.add_argument("--count", type=_positive, default=500, help="entries (default 500)")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            getattr(self, f"_{action}")(**options)
        except NoSuchKey as exc:
            raise CommandError(str(exc)) from exc
        except CacheDown as exc:
            raise CommandError("Redis does not answer.") from exc
        except Exception as exc:
            if (store := unavailable_store(exc)) is None:
                raise
            reason = str(exc).split("\n")[0]
            raise CommandError(f"{store} failed: {reason}") from exc

    def _stats(self, **options: Any) -> None:
        self.stdout.write(json.dumps(stats.cache_figures(), indent=1))

    def _explain(self, *, key: str, **options: Any) -> None:
        self.stdout.write(json.dumps(explain.explain(key), indent=1))

    def _clear(self, *, namespace: str | None, **options: Any) -> None:
        namespaces = list(declared()) if namespace is None else [named(namespace)]
        cleared = clear(namespaces, cleared_by=f"manage.py cache clear, by {_operator()}")
        self.stdout.write(f"Cleared: {', '.join(cleared)}.")

    def _warm(self, **options: Any) -> None:
        for namespace in declared():
            if namespace.warms:
                self.stdout.write(f"{namespace.name}: {warming.warm(namespace)} loaded.")

    def _audit(self, *, count: int, **options: Any) -> None:
        tally = Audit()
        console = Console(stderr=True)
        try:
            with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
                task = bar.add_task("auditing", total=count)
                for tally in audit.audit(count):
                    bar.update(task, completed=tally.checked)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. Checked so far:")
        self.stdout.write(
            f"{len(tally.stale)} stale in {tally.checked} checked "
            f"({tally.fresh} fresh, {tally.in_flight} in flight)"
        )
        for name in tally.stale:
            self.stdout.write(f"stale: {name}")
        if tally.stale:
            sys.exit(1)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as a container may have it
        return str(os.getuid())


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError("from 1 to 1000000")
    return number
