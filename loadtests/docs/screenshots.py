"""
python -m loadtests pictures: the screenshots in docs/, of a running site, by headless Chromium.

The browser is that on PATH. It reads the site through a proxy on loopback that adds the session
of a staff user, since a headless browser cannot log in.
"""

import argparse
import http.client
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple

from config import output_file
from config.stack import ROOT, Stack
from config.stack.process import StackError
from loadtests.docs.browser import installed_browser
from loadtests.drills.degradation.fixtures import logged_in
from loadtests.generators.http_load import Call, OpenLoop, address, fetch
from loadtests.testbed.site import Site, running_site

_REPORT: Final = ROOT / "docs" / "experiments" / "index.html"
_BROWSER_SECONDS: Final = 60
_READS_PER_SECOND: Final = 60
_READ_SECONDS: Final = 150  # so that the chart by minute has a line
_STACK: Final = "pictures"
_USER: Final = "user-117"


class Picture(NamedTuple):
    """A file in docs/, what it shows, and the window in pixels."""

    file: str
    path: str
    width: int
    height: int


def run(options: argparse.Namespace) -> int:
    """Take all screenshots; return 0. Raises Unwritable, and StackError if there is no browser, or if it fails."""
    output_file.refuse_unwritable_folder(options.out)
    browser = installed_browser()
    files = []
    if _REPORT.exists():
        files.append(options.out / "lab-report.png")
        shoot(browser, _REPORT.as_uri(), files[-1], width=1120, height=1500)
    else:
        print(
            "There is no report to take a screenshot of: run make experiments first",
            file=sys.stderr,
        )
    Stack(_STACK, own_only=True).reset()
    with running_site(_STACK, notes=2_000) as site, _as_staff(site) as url:
        for picture in _pictures(site):
            files.append(options.out / picture.file)
            shoot(
                browser,
                f"{url}{picture.path}",
                files[-1],
                width=picture.width,
                height=picture.height,
            )
    for file in files:
        print(file)
    return 0


def shoot(browser: str, url: str, file: Path, *, width: int, height: int) -> None:
    """Take a screenshot of a page. Raises StackError if the browser does not."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "picture.png"
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-extensions", "--no-first-run"),
            f"--user-data-dir={folder}/profile",
            "--blink-settings=preferredColorScheme=1",
            *(f"--window-size={width},{height}", f"--screenshot={fresh}", url),
        ]
        try:
            subprocess.run(
                command, check=False, capture_output=True, cwd=folder, timeout=_BROWSER_SECONDS
            )
        except subprocess.TimeoutExpired as exc:
            raise StackError(f"{browser} took no picture of {url} in time") from exc
        if not fresh.exists():
            raise StackError(f"{browser} took no picture of {url}")
        shutil.copyfile(fresh, file)


def _pictures(site: Site) -> Iterator[Picture]:
    """Yield each picture once the site has the data for it."""
    site.manage("seed_activity", "--count=60000", "--users=200", "--days=30")
    yield Picture("activity-page.png", "/admin/activity/event/", 1280, 980)
    key = _use(site)
    yield Picture("profiles-page.png", f"/admin/profiles/profilerow/?user_id={_USER}", 1280, 980)
    yield Picture("admin-page.png", "/admin/", 1280, 980)
    yield Picture(
        "cache-page.png",
        f"/admin/cachelayer/clearance/?key={key}&namespace=notes&key_prefix={key[6:7]}",
        1360,
        2500,
    )


def _use(site: Site) -> str:
    """Send requests for a while, so that the charts have data; return a cached key."""
    notes = [note["id"] for note in fetch(site.url, "/api/v1/notes?limit=100")["results"]]
    rng = random.Random(1)  # noqa: S311  # not a secret
    weights = [1 / (rank + 1) for rank in range(len(notes))]

    def calls() -> Iterator[Call]:
        for number in range(_READS_PER_SECOND * _READ_SECONDS):
            if number % 10 == 0:
                yield Call("list", f"/api/v1/notes?userId=abc&page={number // 10 % 5 + 1}")
            elif number % 50 == 1:
                yield Call("profile", f"/api/v1/profiles/{_USER}")
            else:
                yield Call("note", f"/api/v1/notes/{rng.choices(notes, weights)[0]}")

    loop = OpenLoop(site.url, per_second=_READS_PER_SECOND)
    loop.run(calls(), seconds=_READ_SECONDS)
    loop.finish()
    site.manage("cache", "clear", "notes:list")
    return f"notes:{notes[0]}"


@contextmanager
def _as_staff(site: Site) -> Iterator[str]:
    """Yield the URL of a proxy in front of the site that adds the session of a staff user."""
    password = secrets.token_urlsafe(16)
    site.manage(
        *("createsuperuser", "--no-input", "--username=ann", "--email=ann@example.org"),
        variables={"DJANGO_SUPERUSER_PASSWORD": password},
    )
    cookies = logged_in(site.url, "ann", password)
    host, port = address(site.url)

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection(host, port, timeout=_BROWSER_SECONDS)
            connection.request("GET", self.path, headers={"Cookie": cookies})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
