"""
What make run starts once everything is installed: the stack, the schema, demo data, the site.

python -m config.run             serve on PORT (default 8000) until Ctrl-C, SIGTERM or SIGHUP
python -m config.run manage ...  run manage.py with the same stack and environment
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, TextIO

import psutil
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config import output_file
from config.stack import ROOT, Stack
from config.stack.process import (
    StackError,
    adopt_orphans,
    die_with_parent,
    end_descendants,
    port_is_free,
    wait_until,
)
from config.stack.site import (
    DRAIN_SECONDS,
    SPARE_THREADS,
    is_answering,
    port_from_environment,
    site_command,
)

_START_SECONDS: Final = 60
_END_SECONDS: Final = DRAIN_SECONDS + 2
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READING_METRICS: Final = ("cache", "pool_advice")  # commands that read the running site's metrics
_PREPARATIONS: Final = (
    ("migrate", "--no-input", "--verbosity=0"),
    ("mongo_indexes", "--ensure", "--verbosity=0"),
    ("seed", "--size=small", "--if-empty"),
)


class _Stopped(BaseException):
    """A signal that ends the site, by its number."""


def main(arguments: list[str]) -> int:
    """Serve, or run one management command; return the exit status."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        if arguments[:1] == ["manage"]:
            return _manage(Stack(), arguments[1:])
        if arguments:
            print(__doc__, file=sys.stderr)
            return 2
        return _watched_serve(port_from_environment())
    except (StackError, ImproperlyConfigured) as exc:
        _say(f"run: {exc}", sys.stderr)
        return 1
    except OSError as exc:
        _say(f"run: {exc.strerror or exc}: {exc.filename or ROOT}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except _Stopped as stopped:
        return 128 + int(stopped.args[0])


def _manage(stack: Stack, arguments: list[str]) -> int:
    stack.up()
    _set_environment(stack)
    metrics = stack.folder / "metrics"
    if arguments[:1] and arguments[0] in _READING_METRICS and metrics.is_dir():
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(metrics))
    command = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT)
    # Ctrl-C reaches the command as well, which may have something to undo; run() would kill it after 0.25 s.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return command.wait()


def _watched_serve(port: int) -> int:
    """
    Serve in a child process; return its exit status once all its descendants have ended.

    Each process notices the end of the other, even by SIGKILL: the child shuts down in order when
    this process is gone, and this process ends what a killed child leaves behind.
    """
    if "MAKELEVEL" in os.environ:  # make waits for this process: if make is gone, it was killed
        die_with_parent()
    adopt_orphans()
    stack = Stack()
    launcher = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until both have their handlers
    child = os.fork()
    if child == 0:
        os.setsid()  # Ctrl-C reaches the launcher alone, which passes it on once
        die_with_parent()
        return _serve(stack, port, launcher)
    for number in _ENDING:
        signal.signal(number, lambda number, frame: _signal(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    _, status = os.waitpid(child, 0)
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    _end_all(stack)
    exit_status = os.waitstatus_to_exitcode(status)
    return exit_status if exit_status >= 0 else 128 - exit_status


def _signal(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _serve(stack: Stack, port: int, launcher: int) -> int:
    """Serve until a signal comes; return the exit status. Raises StackError, _Stopped."""
    adopt_orphans()
    url = f"http://127.0.0.1:{port}"
    stack.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (stack.folder / "site.lock").open("a+") as lock, _cleanup(stack):
        if os.getppid() != launcher:  # it was killed before die_with_parent
            return 1
        other = _held_by_another(lock)
        if other:
            _say(f"Already running: {other}")
            return 0
        lock.truncate(0)
        lock.write(json.dumps(f"{url} (pid {launcher})"))
        lock.flush()
        # After a kill -9 the previous site drains for a while.
        if not wait_until(lambda: port_is_free(port), _END_SECONDS):
            raise StackError(
                f"port {port} is in use: stop the process that listens there, or set PORT"
            )
        _say("Starting PostgreSQL, Redis and MongoDB ...")
        stack.up()
        _set_environment(stack)
        workers, threads = settings.WEB_WORKERS, settings.WEB_THREADS
        _prepare()
        _reset_metrics(stack.folder / "metrics")
        return _run_site(port, url, workers=workers, threads=threads)


@contextlib.contextmanager
def _cleanup(stack: Stack) -> Iterator[None]:
    """Raise _Stopped at the first signal that ends the site; then end all that was started."""
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise _Stopped(number)

    for number in _ENDING:
        signal.signal(number, stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        yield
    finally:
        stopped = True
        _end_all(stack)


def _end_all(stack: Stack) -> None:
    """End the site and whatever else this process has started, then the servers that it started."""
    end_descendants(_END_SECONDS, but=stack.own_processes())
    stack.stop_descendants()
    end_descendants(0)  # processes that were about to become servers


def _held_by_another(lock: IO[str]) -> str | None:
    """
    Take the lock of the running site; return what its holder wrote into it, None if we have it.

    Waits for a holder whose launcher is gone: it is about to end.
    """
    other: str | None = None

    def is_decided() -> bool:
        nonlocal other
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            text = lock.read()
            other = str(json.loads(text)) if text else "it is just starting"
            launcher = re.search(r"\(pid (\d+)\)", other)
            return launcher is None or psutil.pid_exists(int(launcher[1]))
        other = None
        return True

    wait_until(is_decided, 3 * _END_SECONDS)
    return other


def _set_environment(stack: Stack) -> None:
    """Set the variables that the site needs and that are not set yet."""
    os.environ.update(stack.urls())
    os.environ.setdefault("SECRET_KEY", _secret_key(stack.folder / "secret_key"))
    os.environ.setdefault("ALLOWED_HOSTS", "127.0.0.1,localhost")
    os.environ.setdefault("ACTIVITY_SPOOL_DIR", str(stack.folder / "spool"))
    os.environ.setdefault("CACHE_SLOTS_DIR", str(stack.folder / "slots"))


def _reset_metrics(folder: Path) -> None:
    """Empty the folder of the workers' metrics, and set its variable."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _secret_key(path: Path) -> str:
    """Return this checkout's own key, created once: sessions and cursors survive a restart."""
    if not path.exists() or not path.read_text():  # empty: of a crash of an earlier version
        output_file.write(path, secrets.token_urlsafe(50), mode=0o600)
    return path.read_text()


def _prepare() -> None:
    command = [sys.executable, "-m", "config.commands", json.dumps(_PREPARATIONS)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise StackError("the stores could not be prepared; see the message above")


def _run_site(port: int, url: str, *, workers: int, threads: int) -> int:
    """Serve until a signal comes; return exit status 0. Raises StackError if the site ends by itself."""
    site = subprocess.Popen(
        site_command(port, workers=workers, threads=threads + SPARE_THREADS),
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:  # from here on requests may be in flight
        if not wait_until(lambda: site.poll() is not None or is_answering(url), _START_SECONDS):
            raise StackError(f"the site does not answer at {url} after {_START_SECONDS} s")
        if site.poll() is None:
            _say(_addresses(url))
        status = site.wait()
    except _Stopped:
        _say("\nFinishing the requests in flight ...")
        return 0
    raise StackError(f"the site ended by itself, with exit status {status}")


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print, even if the terminal is gone: its end may be what ends this process."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _addresses(url: str) -> str:
    return f"""
Trilith serves at {url}

  curl -i '{url}/api/v1/notes?userId=abc&limit=2'      a page of notes
  curl -i '{url}/api/v1/notes?q=database'              words in the title
  curl -s '{url}/health'                               the three stores
  {url}/api/docs                        the API, to try in a browser
  {url}/admin/                          the admin (an account: make superuser)

Ctrl-C stops the site and the servers."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
