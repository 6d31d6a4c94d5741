"""
Pytest plugin: the tests' own three servers, started before Django reads its settings.

Named in pyproject.toml by -p, since conftest.py would be too late. Where the environment names
all three servers, those are used.
"""

import fcntl
import os
from collections.abc import Iterator
from typing import IO

import pytest

from config.stack import ROOT, VARIABLES, Stack
from config.stack.process import StackError

_NAME = "test"
_started: list[Stack] = []
_lock: list[IO[str]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"  # a developer's .env does not bend the tests
    os.environ["SECRET_KEY"] = "only for tests, and long enough for check --deploy 0123456789"
    os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
    os.environ["DEBUG"] = "false"
    known = early_config.known_args_namespace
    if known.help or known.version or all(os.environ.get(name) for name in VARIABLES.values()):
        return
    _take_turn()
    stack = Stack(_NAME)
    _started.append(stack)
    try:
        stack.reset()  # what a killed run left behind
        stack.up()
    except StackError as exc:
        pytest.exit(f"the tests' servers do not start: {exc}", returncode=3)
    os.environ.update(stack.urls())


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
def pytest_cmdline_main() -> Iterator[None]:
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
    if not _started:
        pytest.fail(
            "this test needs servers of its own: unset DATABASE_URL, REDIS_URL, MONGODB_URI"
        )
    return _started[0]
