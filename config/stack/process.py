"""Processes and ports: found by their command line, ended by pid, awaited with a deadline."""

import ctypes
import errno
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

# Below the ports that Linux hands out by itself (32768 to 60999), so that a port that is kept
# for a stopped server is not given to a passing connection.
_PORTS = range(20_000, 30_000)
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36


class StackError(Exception):
    """The stack cannot do what was requested; the message is one line with the remedy."""


@contextmanager
def ending_with_its_reader() -> Iterator[None]:
    """Exit with 141, as a shell reports SIGPIPE, in place of a traceback where nobody reads standard output any more."""
    try:
        try:
            yield
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        if not _reader_is_gone():  # it was another pipe, or a connection
            raise
        # For what is still unwritten.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _reader_is_gone() -> bool:
    output = select.poll()
    output.register(sys.stdout, 0)  # errors are always reported (poll(2))
    return bool(output.poll(0))


def find(marker: str) -> psutil.Process | None:
    """
    Return the live process that has marker as one of its arguments, or None.

    The process table is the only truth: there is no pid file that a crash could leave behind.
    Of a process and its forks, the parent is returned.
    """
    found = [process for process in psutil.process_iter() if marker in _arguments(process)]
    pids = {process.pid for process in found}
    return next((process for process in found if _parent(process) not in pids), None)


def living_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is folder (PostgreSQL's orphaned backends)."""
    return [process for process in psutil.process_iter() if _working_directory(process) == folder]


def _quiet(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except (psutil.Error, OSError):
        return otherwise


def _arguments(process: psutil.Process) -> list[str]:
    arguments: list[str] = _quiet(process.cmdline, [])
    return arguments


def _parent(process: psutil.Process) -> int | None:
    parent: int | None = _quiet(process.ppid, None)
    return parent


def _working_directory(process: psutil.Process) -> Path | None:
    folder = _quiet(process.cwd, "")
    return Path(folder) if folder else None


def is_alive(process: psutil.Process) -> bool:
    """Return whether the process runs (a zombie does not)."""
    return process.is_running() and _quiet(process.status, psutil.STATUS_ZOMBIE) not in (
        psutil.STATUS_ZOMBIE,
        psutil.STATUS_DEAD,
    )


def memory_bytes(process: psutil.Process) -> int | None:
    """Return the memory that the process holds; None where it has just ended."""
    memory: int | None = _quiet(lambda: process.memory_info().rss, None)
    return memory


def is_paused(process: psutil.Process) -> bool:
    """Return whether the process was stopped by SIGSTOP."""
    return bool(_quiet(process.status, "") == psutil.STATUS_STOPPED)


def listens(process: psutil.Process, port: int) -> bool:
    """
    Return whether this very process listens on the port.

    Connecting would not show whose server answers, and we must never write to somebody else's.
    """
    sockets = _quiet(lambda: process.net_connections(kind="tcp4"), [])
    return any(
        listener.status == psutil.CONN_LISTEN and listener.laddr and listener.laddr.port == port
        for listener in sockets
    )


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str],
    identity: Mapping[str, Any],
) -> psutil.Process:
    """Start a server in a session of its own, so that no terminal's Ctrl-C reaches it."""
    with log.open("ab") as sink:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
            **identity,
        )
    spawned = psutil.Process(child.pid)
    threading.Thread(target=child.wait, daemon=True).start()  # reap it, or it stays a zombie
    return spawned


def run(
    command: Sequence[str | Path], *, environment: Mapping[str, str], identity: Mapping[str, Any]
) -> str:
    """Run a command to its end; return its output. Raises StackError with its last line."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=dict(environment),
        **identity,
    )
    if done.returncode:
        lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise StackError(f"{Path(str(command[0])).name} failed: {reason}")
    output: str = done.stdout
    return output


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """
    Wait until condition holds; return False if it did not in time.

    It is checked every 20 ms, and later, since a check may cost as much, every 100 ms.
    """
    began = time.monotonic()
    pause = threading.Event()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            return False
        pause.wait(min(max(0.02, waited / 20), 0.1))
    return True


def end(process: psutil.Process, number: signal.Signals, seconds: float) -> bool:
    """
    End a process and its children with a signal, and with SIGKILL after so many seconds.

    Return whether the signal was enough.
    """
    family = [process, *_quiet(lambda: process.children(recursive=True), [])]
    for member in family:
        _quiet(member.resume, None)  # a paused process would not see the signal
    _quiet(lambda: process.send_signal(number), None)
    in_time = wait_until(lambda: not any(map(is_alive, family)), seconds)
    if not in_time:
        kill(process, family)
    return in_time


def kill(process: psutil.Process, family: Sequence[psutil.Process] | None = None) -> None:
    """SIGKILL a process and its children, and wait until they are gone."""
    members = family or [process, *_quiet(lambda: process.children(recursive=True), [])]
    for member in members:
        _quiet(member.kill, None)
    if not wait_until(lambda: not any(map(is_alive, members)), 5):
        raise StackError(f"process {process.pid} does not die; look at it with ps")


def die_with_parent() -> None:
    """
    Have Linux send SIGTERM to this process when the thread that started it ends, be it by SIGKILL.

    Other systems cannot; there a process whose parent was killed goes on.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Have Linux make this process the parent of descendants whose own parent ends; others cannot."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[psutil.Process]:
    """Return the live processes that this one has started or adopted, and their descendants."""
    return [child for child in psutil.Process().children(recursive=True) if is_alive(child)]


def end_descendants(seconds: float, *, but: Collection[psutil.Process] = ()) -> None:
    """
    End what this process has started or adopted, but for some and what these have started.

    Each child gets SIGTERM, and ends its own children; what is left after so many seconds gets
    SIGKILL. Raises StackError where that does not help.
    """

    def remaining() -> list[psutil.Process]:
        spared = {*but}
        for process in but:
            spared.update(_quiet(partial(process.children, recursive=True), []))
        return [process for process in descendants() if process not in spared]

    for child in psutil.Process().children():
        if child not in but:
            _quiet(child.resume, None)  # a paused process would not see the signal
            _quiet(child.terminate, None)
    if not wait_until(lambda: not remaining(), seconds):
        for process in remaining():
            _quiet(process.kill, None)
        if not wait_until(lambda: not remaining(), 5):
            raise StackError(f"processes {remaining()} do not die; look at them with ps")


def pause(process: psutil.Process) -> None:
    """
    SIGSTOP a process and its children, and wait until each of their threads has stopped.

    A thread that runs on another processor may else answer one more request.
    """
    members = (process, *_quiet(lambda: process.children(recursive=True), []))
    for member in members:
        _quiet(member.suspend, None)
    wait_until(lambda: not any(map(_has_running_thread, members)), 10)


def _has_running_thread(process: psutil.Process) -> bool:
    stats = Path(f"/proc/{process.pid}/task").glob("*/stat")
    states: list[str] = _quiet(lambda: [_state_in(stat.read_text()) for stat in stats], ["R"])
    return not set(states) <= {"T", "Z", "X"}  # stopped or dead: proc_pid_stat(5)


def _state_in(stat: str) -> str:
    return stat.rpartition(")")[2].split()[0]  # after the name, which may have spaces in it


def resume(process: psutil.Process) -> None:
    """SIGCONT a process and its children."""
    for member in (process, *_quiet(lambda: process.children(recursive=True), [])):
        _quiet(member.resume, None)


def port_is_free(port: int) -> bool:
    """
    Return whether a server could listen on this port of 127.0.0.1.

    Raises StackError where this user may not use it at all.
    """
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # otherwise TIME_WAIT looks like a port in use
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as exc:
            raise StackError(
                f"port {port} needs rights that this user lacks: use a port from 1024 on"
            ) from exc
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens. Raises StackError if there is none."""
    for port in random.sample(_PORTS, 200):
        if port_is_free(port):
            return port
    raise StackError(f"no free port between {_PORTS.start} and {_PORTS.stop} was found")
