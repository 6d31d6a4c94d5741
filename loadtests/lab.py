"""What an experiment works with: sites on the lab's own stack, steady states, and progress."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from loadtests.experiment import SteadyState
from loadtests.load import Call, closed_loop
from loadtests.site import Site, running_site

STACK = "lab"
_PROBE_SECONDS = 0.5


@dataclass
class Lab:
    """One run of one experiment. quick: sizes for the gate, some seconds; seed: of all chance."""

    quick: bool
    seed: int = 1
    tell: Callable[[str], None] = lambda text: None  # one line of progress
    steady: list[SteadyState] = field(default_factory=list)

    @contextmanager
    def site(
        self,
        arm: str,
        *,
        notes: int,
        workers: int = 2,
        threads: int = 16,
        application: str = "config.wsgi:application",
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[Site]:
        """
        Yield a site on the lab's own servers, well at the start; look again at the end.

        It and its servers are stopped, whatever happens. Raises StackError.
        """
        with running_site(
            STACK,
            notes=notes,
            workers=workers,
            threads=threads,
            application=application,
            variables=variables,
        ) as site:
            self.probe(site, f"before ({arm})")
            yield site
            for server in ("postgres", "redis", "mongodb"):
                site.stack.start(server)
            self.probe(site, f"after ({arm})")

    def probe(self, site: Site, when: str) -> None:
        """Take the steady state: a list that is cached, at a low load, and health."""
        call = Call("probe", "/api/v1/notes?userId=abc")
        taken = closed_loop(site.url, call, connections=2, seconds=_PROBE_SECONDS)
        health = closed_loop(site.url, Call("health", "/health"), connections=1, seconds=0.01)
        failures = [one for one in taken if one.status != 200]
        self.steady.append(
            SteadyState(
                when=when,
                healthy=not failures and b'"status":"ok"' in health[-1].body,
                requests=len(taken),
                failures=len(failures),
                p50_ms=statistics.median(one.latency_ms for one in taken),
                told="" if not failures else f"such as {failures[0].status}",
            )
        )
