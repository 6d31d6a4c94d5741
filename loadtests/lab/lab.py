"""What an experiment works with: sites on the lab's own stack, steady states, and progress."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from config.stack.process import wait_until
from loadtests.generators.http_load import Call, closed_loop, connected, send
from loadtests.testbed.servers import Servers, running_servers
from loadtests.testbed.site import THREADS, WORKERS, Site, serving

STACK = "lab"
RECOVERY_SECONDS = 20
_PROBE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class SteadyState:
    """How the site did before and after: it must be well at first, and again at the end."""

    when: str  # "before" or "after", and of which arm where there are several sites
    healthy: bool
    requests: int
    failures: int
    p50_ms: float
    told: str = ""  # what was not well


@dataclass
class Lab:
    """
    One run of one experiment. quick: sizes for the gate, some seconds; seed: of all chance.

    servers: the lab's, shared by the experiments of a run; without them each site starts its own.
    """

    quick: bool
    seed: int = 1
    tell: Callable[[str], None] = lambda text: None  # one line of progress
    steady: list[SteadyState] = field(default_factory=list)
    servers: Servers | None = None

    @contextmanager
    def site(
        self,
        arm: str,
        *,
        notes: int,
        workers: int = WORKERS,
        threads: int = THREADS,
        application: str = "config.wsgi:application",
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[Site]:
        """
        Yield a site on the lab's own servers, well at the start; look again at the end.

        There are exactly so many notes, and nothing is cached. The site is stopped and every
        server runs again, whatever happens. Raises StackError.
        """
        self.tell(f"starting the site ({arm})")
        shared = nullcontext(self.servers) if self.servers else running_servers(STACK)
        with (
            shared as servers,
            serving(
                servers,
                notes=notes,
                workers=workers,
                threads=threads,
                application=application,
                variables=variables,
            ) as site,
        ):
            self.probe(site, f"before ({arm})")
            try:
                yield site
            finally:
                site.stack.up()
            self.probe(site, f"after ({arm})")

    def probe(self, site: Site, when: str) -> None:
        """
        Take the steady state: a list that is cached, at a low load, and health.

        After an outage the site is given some seconds to be well again.
        """
        wait_until(lambda: _is_well(site.url), RECOVERY_SECONDS)
        call = Call("probe", "/api/v1/notes?userId=abc")
        taken = closed_loop(site.url, call, connections=2, seconds=_PROBE_SECONDS)
        failures = [one for one in taken if one.status != 200]
        told = [f"such as {failures[0].status}"] if failures else []
        if not taken:
            told.append("nothing was asked in time")
        if not _is_well(site.url):
            told.append("/health tells of a store that is not well")
        self.steady.append(
            SteadyState(
                when=when,
                healthy=not told,
                requests=len(taken),
                failures=len(failures),
                p50_ms=statistics.median([one.latency_ms for one in taken] or [0.0]),
                told=", ".join(told),
            )
        )


def _is_well(url: str) -> bool:
    with connected(url) as connection:
        health = send(connection, Call("health", "/health"), time.perf_counter(), 0.0)
    return health.status == 200 and json.loads(health.body)["status"] == "ok"
