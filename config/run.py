"""
What make run does once everything is installed: the stack, the schema, demo data, the site.

python -m config.run             serve on PORT (default 8000) until Ctrl-C or SIGTERM
python -m config.run manage ...  run manage.py with the same stack and environment
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from config.stack import ROOT, Stack
from config.stack.process import StackError, port_is_free, wait_until
from config.stack.site import DRAIN_SECONDS, die_with_parent, is_answering, site_command

_START_SECONDS: Final = 60
_READING_COUNTS: Final = ("cache", "pool_advice")  # of all the processes of the site
_PREPARATIONS: Final = (
    ("migrate", "--no-input", "--verbosity=0"),
    ("mongo_indexes", "--ensure", "--verbosity=0"),
    ("seed", "--size=small", "--if-empty"),
)


def main(arguments: list[str]) -> int:
    """Serve, or run one management command; return the exit status."""
    try:
        stack = Stack()
        if arguments[:1] == ["manage"]:
            return _manage(stack, arguments[1:])
        if arguments:
            print(__doc__, file=sys.stderr)
            return 2
        return _serve(stack)
    except StackError as exc:
        print(f"run: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _manage(stack: Stack, arguments: list[str]) -> int:
    stack.up()
    _set_environment(stack)
    counted = stack.folder / "metrics"
    if arguments[:1] and arguments[0] in _READING_COUNTS and counted.is_dir():
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(counted))  # the running site's
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, check=False
    ).returncode


def _serve(stack: Stack) -> int:
    port = int(os.environ.get("PORT") or 8000)
    url = f"http://127.0.0.1:{port}"
    stack.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (stack.folder / "site.lock").open("a+") as lock:
        other = _taken_by_another(lock)
        if other:
            print(f"Already running: {other}")
            return 0
        # After a kill -9 of the launcher the old site drains for a while.
        if not wait_until(lambda: port_is_free(port), DRAIN_SECONDS + 2):
            raise StackError(f"port {port} is taken: end what listens there, or set PORT")
        lock.write(json.dumps(f"{url} (pid {os.getpid()})"))
        lock.flush()
        with _running(stack):
            _set_environment(stack)
            for command in _PREPARATIONS:
                _prepare(command)
            _count_afresh(stack.folder / "metrics")
            return _run_site(port, url)


def _taken_by_another(lock: IO[str]) -> str | None:
    """Take the lock of the running site; return what its holder has written where there is one."""
    lock.seek(0)
    told = lock.read()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return str(json.loads(told)) if told else "it is just starting"
    lock.truncate(0)
    return None


@contextlib.contextmanager
def _running(stack: Stack) -> Iterator[None]:
    """Have the stack up; afterwards stop what ran not before."""
    ran_before = {one.server for one in stack.status() if one.state == "running"}
    print("Starting PostgreSQL, Redis and MongoDB ...", flush=True)
    try:
        stack.up()
        yield
    finally:
        for one in stack.status():
            if one.server not in ran_before and one.state != "external":
                stack.stop(one.server)


def _set_environment(stack: Stack) -> None:
    """Export what the site needs; whatever is set already stays as it is."""
    os.environ.update(stack.urls())
    os.environ.setdefault("SECRET_KEY", _secret_key(stack.folder / "secret_key"))
    os.environ.setdefault("ALLOWED_HOSTS", "127.0.0.1,localhost")
    os.environ.setdefault("ACTIVITY_SPOOL_DIR", str(stack.folder / "spool"))


def _count_afresh(folder: Path) -> None:
    """Empty the folder in which the workers keep their counts, and tell them of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _secret_key(kept: Path) -> str:
    """Return this checkout's own key, made once: sessions and cursors outlive a restart."""
    if not kept.exists():
        kept.touch(0o600)
        kept.write_text(secrets.token_urlsafe(50))
    return kept.read_text()


def _prepare(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, check=False)
    if done.returncode:
        raise StackError(f"manage.py {command[0]} failed; its message stands above")


def _run_site(port: int, url: str) -> int:
    """Serve until a signal comes; let requests in flight finish; return the exit status."""
    site = subprocess.Popen(
        site_command(
            port,
            workers=int(os.environ.get("WEB_WORKERS") or 2),
            threads=int(os.environ.get("WEB_THREADS") or 16),
        ),
        cwd=ROOT,
        start_new_session=True,  # Ctrl-C reaches this launcher alone, which passes one SIGTERM on
        preexec_fn=die_with_parent,
    )
    asked_to_stop = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked_to_stop
        if not asked_to_stop:
            print("\nFinishing the requests in flight ...", flush=True)
            site.send_signal(signal.SIGTERM)
        asked_to_stop = True

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if wait_until(lambda: site.poll() is not None or is_answering(url), _START_SECONDS):
            if site.poll() is None and not asked_to_stop:
                print(_addresses(url), flush=True)
        else:
            site.kill()
            raise StackError(f"the site does not answer at {url} after {_START_SECONDS} s")
        status = site.wait()
        return 0 if asked_to_stop else status or 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
