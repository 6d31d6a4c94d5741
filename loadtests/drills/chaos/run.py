"""One chaos run: clients in their processes, and faults one after the other, each drawn by the seed."""

import contextlib
import itertools
import multiprocessing
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import psutil
from redis.exceptions import RedisError

from config.stack.process import StackError, is_paused, wait_until
from loadtests.drills.chaos import clients
from loadtests.drills.chaos.board import Board
from loadtests.drills.chaos.clients import NOTES_EACH, READ_PAUSE_SECONDS, Outcome, Plan
from loadtests.testbed.faults import FAULTS, Fault
from loadtests.testbed.workers import Workers

HITS_BACK_SECONDS: Final = 40.0  # how long a run waits for hits after a fault
_READY_SECONDS: Final = 60.0
_CALM_SECONDS: Final = (0.3, 1.0)  # after hits are back, before the next fault
_END_SECONDS: Final = 30.0


@dataclass
class Injection:
    """A fault that was injected, and when hits were back, in seconds after its end, by worker."""

    fault: Fault
    seconds: float
    variant: str = ""
    hits_back: dict[int, float | None] = field(default_factory=dict)
    failure: str = ""


@dataclass
class Run:
    """What happened: the faults in their order, and what the clients saw in their phases."""

    injections: list[Injection]
    outcome: Outcome
    seconds: float
    seed: int


def schedule(faults: Sequence[Fault], seed: int) -> Iterator[tuple[Fault, random.Random]]:
    """Yield faults without end, each with its own random numbers: all of them, then all in another order."""
    rng = random.Random(seed)  # noqa: S311  # to be repeatable
    while True:
        for fault in rng.sample(faults, len(faults)):
            yield fault, random.Random(rng.random())  # noqa: S311


def run(
    site: Workers,
    *,
    seconds: float,
    seed: int,
    faults: Sequence[Fault] = FAULTS,
    pace: float = 1.0,
    read_pause_seconds: float = READ_PAUSE_SECONDS,
    ends_at_stale: bool = False,
    on_injection: Callable[[Injection], None] = lambda injection: None,
) -> Run:
    """
    Inject faults for so long, but each at least once; ends_at_stale: up to a stale read. Raises StackError.

    pace: by which their durations are multiplied. read_pause_seconds: of each reader after a read, on average.
    """
    file = site.stack.folder / "chaos.board"
    file.unlink(missing_ok=True)
    plan = Plan(
        file,
        [worker.url for worker in site.workers],
        secrets.token_hex(3),
        seed,
        read_pause_seconds=read_pause_seconds,
        ends_at_stale=ends_at_stale,
    )
    board = Board(file, plan.writers)
    injections: list[Injection] = []
    began = time.monotonic()
    with ExitStack() as resources:
        finish = [
            resources.enter_context(_client(target, plan, board))
            for target in (clients.write, clients.read)
        ]
        if not wait_until(lambda: board.is_over or _is_warm(board, plan), _READY_SECONDS):
            raise StackError("the clients of the chaos run do not get started")
        for number, (fault, rng) in enumerate(schedule(faults, seed)):
            is_enough = time.monotonic() - began > seconds and number >= len(faults)
            if number and (board.is_over or is_enough):  # what was seen is counted with a fault
                break
            board.phase = 2 * number
            injection = _inject(site, board, fault, rng, pace, number)
            injections.append(injection)
            on_injection(injection)
        board.end()
        outcome = Outcome()
        for result in finish:
            outcome.add(result())
    return Run(injections, outcome, time.monotonic() - began, seed)


@contextlib.contextmanager
def _client(
    target: Callable[[Plan, Any], None], plan: Plan, board: Board
) -> Iterator[Callable[[], Outcome]]:
    """Start a process of clients; yield what waits for its outcome."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(plan, sending), daemon=True)
    process.start()
    sending.close()  # so that its end is noticed

    def finish() -> Outcome:
        if not receiving.poll(_END_SECONDS):
            raise StackError("the clients of the chaos run do not end")
        try:
            outcome: Outcome = receiving.recv()
        except EOFError:
            return Outcome(errors=["a process of clients died"])
        return outcome

    try:
        yield finish
    finally:
        board.end()
        process.join(_END_SECONDS)
        process.kill()


def _is_warm(board: Board, plan: Plan) -> bool:
    """Return whether each writer has all its keys, and each worker has answered with a hit."""
    places = itertools.product(range(plan.writers), range(NOTES_EACH + 1))
    return all(board.shown(*place) is not None for place in places) and all(
        board.last_hit(worker) for worker in range(len(plan.urls))
    )


def _inject(
    site: Workers, board: Board, fault: Fault, rng: random.Random, pace: float, number: int
) -> Injection:
    """Inject a fault for a random time, take it back, and wait until all workers hit and one writes again."""
    # Short ones are as likely as long ones by their order of magnitude.
    least, most = max(fault.least_seconds, 0.05), max(fault.most_seconds, 0.05)
    seconds = pace * least * (most / least) ** rng.random()
    injection = Injection(fault, round(seconds, 2))
    calm = threading.Event()
    try:
        with fault.inject(site, rng) as injection.variant:
            board.avoided = _stopped(site)
            calm.wait(seconds)
    except (StackError, RedisError, psutil.Error) as exc:
        injection.failure = f"{type(exc).__name__}: {exc}"
    ended_at = time.monotonic_ns()
    board.avoided = -1
    board.phase = 2 * number + 1
    injection.hits_back = {worker.number: None for worker in site.workers}

    def are_back() -> bool:
        for worker, back in injection.hits_back.items():
            if back is None and board.last_hit(worker) > ended_at:
                injection.hits_back[worker] = (board.last_hit(worker) - ended_at) / 1e9
        are_hit = None not in injection.hits_back.values()
        return board.is_over or (are_hit and board.written_at > ended_at)

    wait_until(are_back, HITS_BACK_SECONDS)
    calm.wait(pace * rng.uniform(*_CALM_SECONDS))
    return injection


def _stopped(site: Workers) -> int:
    for worker in site.workers:
        with contextlib.suppress(StackError, psutil.Error):
            if is_paused(worker.process()):
                return worker.number
    return -1
