"""
Pytest plugin: the tests' own three servers, started before Django reads its settings.

Named in pyproject.toml by -p, since conftest.py would be too late. Where the environment names
all three servers, those are used. In a parallel run (-n 2) each process has three of its own; the
a run started by hand starts and removes them all.
"""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from config.stack import ROOT, VARIABLES, Stack
from config.stack.process import StackError

_WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # unset in the process that was started by hand
if _WORKER:
    # This process is measured by now; the sites that its tests start would only be slower.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
# Its files share a site, and servers with names of their own: all in one process, one after the other.
_LOADTESTS = "tests/loadtests/"
# Begun first, the longest at the head, so that none of them runs alone at the end.
_LONG = (
    _LOADTESTS,
    "tests/config/test_run.py",
    "tests/config/stack/test_cluster.py",
    "tests/config/test_contract.py",
    "tests/cachelayer/test_state_machine.py",
    "tests/config/postgres/test_pooler.py",
    "tests/config/backup/test_backup.py",
    "tests/config/web/test_edge_differential.py",
    "tests/profiles/test_change_stream.py",
    "tests/activity/test_api.py",
    "tests/config/stack/test_stack.py",
    "tests/config/postgres/test_replica.py",
    "tests/test_course.py",
    "tests/config/web/test_reads.py",
    "tests/config/test_settings.py",
    "tests/cachelayer/",
)

_started: list[Stack] = []  # to be removed by this process
_used: list[Stack] = []  # by this process's tests
_lock: list[IO[str]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"  # a developer's .env does not bend the tests
    os.environ["SECRET_KEY"] = "only for tests, and long enough for check --deploy 0123456789"
    os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
    os.environ["DEBUG"] = "false"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # whatever the tests ask is on loopback
    known = early_config.known_args_namespace
    if known.help or known.version:
        return
    if _WORKER:
        _use(_WORKER)
    elif not all(os.environ.get(name) for name in VARIABLES.values()):
        _take_turn()
        _start(_parallel(known.numprocesses))


def _parallel(requested: int | str | None) -> list[str]:
    """Return the names that xdist gives to its processes; one name where the servers are shared."""
    if isinstance(requested, str):
        pytest.exit(
            f"-n {requested}: say a number, since servers are started for each", returncode=3
        )
    shared = any(os.environ.get(name) for name in VARIABLES.values())
    return [f"gw{number}" for number in range(1 if shared else requested or 1)]


def _start(workers: list[str]) -> None:
    stacks = [Stack(f"test-{worker}") for worker in workers]
    _started.extend(stacks)

    def start(stack: Stack) -> None:
        stack.reset()  # what a killed run left behind
        stack.up()

    try:
        with ThreadPoolExecutor(len(stacks)) as pool:
            list(pool.map(start, stacks))
    except StackError as exc:
        pytest.exit(f"the tests' servers do not start: {exc}", returncode=3)
    _used.append(stacks[0])
    os.environ.update(stacks[0].urls())


def _use(worker: str) -> None:
    """Use the servers that were started for this process, not those that it has inherited."""
    for name in VARIABLES.values():
        os.environ.pop(name, None)
    _used.append(Stack(f"test-{worker}"))
    os.environ.update(_used[0].urls())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _WORKER:
        items.sort(key=lambda item: _rank(item.nodeid))  # random among the rest


def _rank(nodeid: str) -> int:
    places = (place for place, prefix in enumerate(_LONG) if nodeid.startswith(prefix))
    return next(places, len(_LONG))


class _ByFile(LoadScopeScheduling):
    """The tests of a file in one process, in which its fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        return _LOADTESTS if nodeid.startswith(_LOADTESTS) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByFile(config, log)


def _take_turn() -> None:
    """Refuse a second run in this checkout, which would pull the servers from under the first."""
    folder = ROOT / ".stack"
    folder.mkdir(mode=0o711, exist_ok=True)
    lock = (folder / "tests.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pytest.exit("another pytest runs in this checkout: wait for it", returncode=3)
    _lock.append(lock)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Iterator[None]:
    if not _WORKER and len(_started) < 2:
        config.option.numprocesses = 0  # servers named by the environment serve a single process
    try:
        return (yield)
    finally:
        for stack in _started:
            stack.reset()
        for lock in _lock:
            lock.close()


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The servers that the tests run on, to be paused and killed."""
    if not _used:
        pytest.fail(
            "this test needs servers of its own: unset DATABASE_URL, REDIS_URL, MONGODB_URI"
        )
    return _used[0]
