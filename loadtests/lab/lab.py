"""What an experiment is given: sites on the lab's own stack, steady states, and progress reports."""

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Unpack

from config.stack.process import wait_until
from loadtests.generators.http_load import Call, closed_loop, send_once
from loadtests.testbed.servers import Servers, running_servers
from loadtests.testbed.site import ServingOptions, Site, serving

STACK = "lab"
RECOVERY_SECONDS = 20
_PROBE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class SteadyState:
    """The state of the site before or after an experiment: it must be healthy both times."""

    when: str  # "before" or "after", with the arm in brackets
    healthy: bool
    requests: int
    failures: int
    p50_ms: float
    problems: str = ""  # why it is not healthy


@dataclass
class Lab:
    """
    One run of one experiment. quick: small sizes, for CI; seed: of every random choice.

    servers: the lab's, shared by the experiments of a run; without them each site starts its own.
    """

    quick: bool
    seed: int = 1
    progress: Callable[[str], None] = lambda message: None
    steady: list[SteadyState] = field(default_factory=list)
    servers: Servers | None = None

    @contextmanager
    def site(self, arm: str, *, notes: int, **options: Unpack[ServingOptions]) -> Iterator[Site]:
        """
        Yield a site on the lab's own servers; check that it is healthy at the start and at the end.

        It has exactly that many notes, and nothing is cached. However the block ends, the site is
        stopped and every server is running. Raises StackError.
        """
        self.progress(f"starting the site ({arm})")
        shared = nullcontext(self.servers) if self.servers else running_servers(STACK)
        with shared as servers, serving(servers, notes=notes, **options) as site:
            self.probe(site, f"before ({arm})")
            try:
                yield site
            finally:
                site.stack.up()
            self.probe(site, f"after ({arm})")

    def probe(self, site: Site, when: str) -> None:
        """
        Measure the steady state: a cached list under low load, and the health check.

        After an outage the site is given some seconds to recover.
        """
        wait_until(lambda: _is_healthy(site.url), RECOVERY_SECONDS)
        call = Call("probe", "/api/v1/notes?userId=abc")
        samples = closed_loop(site.url, call, connections=2, seconds=_PROBE_SECONDS)
        failures = [sample for sample in samples if sample.status != 200]
        problems = [f"such as {failures[0].status}"] if failures else []
        if not samples:
            problems.append("no request was sent in time")
        # The cache's lease may lapse for a moment on a busy machine, and health is degraded meanwhile.
        if not wait_until(lambda: _is_healthy(site.url), RECOVERY_SECONDS):
            problems.append("/health reports a store that is down")
        self.steady.append(
            SteadyState(
                when=when,
                healthy=not problems,
                requests=len(samples),
                failures=len(failures),
                p50_ms=statistics.median([sample.latency_ms for sample in samples] or [0.0]),
                problems=", ".join(problems),
            )
        )


def _is_healthy(url: str) -> bool:
    health = send_once(url, Call("health", "/health"))
    return health.status == 200 and bool(json.loads(health.body)["status"] == "ok")
