"""
python -m loadtests pages: the pages of notes in headless Chromium.

By the keyboard alone it makes a note, edits it, and meets a conflict; then it opens stored attacks,
looks at the pages on a phone and in the dark, and measures how long they take.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from config import output_file
from config.stack import Stack
from config.stack.process import StackError
from loadtests.docs.browser import Tab, installed_browser, milliseconds_of_load, running_tab
from loadtests.generators.http_load import address
from loadtests.testbed.site import Site, running_site

_STACK: Final = "pages"
_USER: Final = "ann"
_LOADS: Final = 20
_PHONE: Final = (390, 844)
_TEXT: Final = """## What a hit costs

A hot note is answered from **this process's own copy**: no store is asked.

| level | stores asked |
|---|---|
| first level | none |
| Redis | one `MGET` |
| database | one `MGET`, one `SELECT`, two scripts |

1. Read it twice.
2. Save it.
3. Look at the panel.
"""
_ATTACKS: Final = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "[x](javascript:alert(1))",
    "![x](https://elsewhere.example/x.png)",
    '"><script>alert(1)</script>',
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
)


def run(options: argparse.Namespace) -> int:
    """Go through the pages, take their pictures, print their times; return 0. Raises StackError, Unwritable."""
    output_file.refuse_unwritable_folder(options.out)
    installed_browser()
    Stack(_STACK, own_only=True).reset()
    with running_site(_STACK, notes=2_000) as site, running_tab() as tab:
        tab.show_as(width=1280, height=980)
        note = _make_by_keyboard(tab, site)
        _edit(tab, site, note, options.out / "page.png")
        _meet_conflict(tab, site, note)
        _require_no_complaint(tab)
        _open_attacks(tab, site)
        _shoot_others(tab, site, note, options.out)
        times = {
            name: [milliseconds_of_load(tab, f"{site.url}{path}") for _ in range(_LOADS)]
            for name, path in (("list", "/"), ("note", note), ("form", f"{note}/edit"))
        }
        _require_no_complaint(tab)
    _print(times)
    return 0


def _make_by_keyboard(tab: Tab, site: Site) -> str:
    """Make a note without a mouse; return its path."""
    tab.open(f"{site.url}/")
    tab.tab_to("#user-id")
    tab.type(_USER)
    with tab.loading():
        tab.press("Enter")
    _require(tab, f"document.querySelector('#user-id').value === '{_USER}'")
    tab.tab_to("a[href='/notes/new']")
    with tab.loading():
        tab.press("Enter")
    _require(tab, "document.activeElement.id === 'title'")
    tab.type("What a hit costs")
    tab.press("Tab")
    tab.type("draft")
    tab.press("Tab")
    with tab.loading():
        tab.press("Enter")
    _require(tab, "document.querySelector('h1').textContent === 'What a hit costs'")
    return str(tab.evaluate("location.pathname"))


def _edit(tab: Tab, site: Site, note: str, picture: Path) -> None:
    """Save a longer text, and take a picture of what the page then tells."""
    tab.open(f"{site.url}{note}/edit")
    tab.tab_to("#text")
    tab.type(_TEXT)
    with tab.loading():
        tab.tab_to("main form.note button")
        tab.press("Enter")
    _require(tab, "document.querySelector('.markdown table') !== null")
    _require(tab, "document.querySelector('.strip').textContent.includes('UPDATE notes SET')")
    tab.evaluate("document.querySelector('.strip details').open = false")  # for the write to fit in
    tab.show_as(width=1120, height=990)
    tab.shoot(picture)
    tab.show_as(width=1280, height=980)


def _meet_conflict(tab: Tab, site: Site, note: str) -> None:
    """Save a note that another client has changed since: the page shows both, and keeps the text."""
    tab.open(f"{site.url}{note}/edit")
    _send(site, "PATCH", f"/api/v1{note}", {"title": "Changed by another client"})
    tab.tab_to("#title")
    tab.type("Mine")
    with tab.loading():
        tab.press("Enter")
    _require(tab, "document.querySelector('[role=alert]') !== null")
    _require(tab, "document.querySelector('.conflict').textContent.includes('another client')")
    _require(tab, "document.querySelector('#title').value === 'Mine'")
    tab.complaints = [text for text in tab.complaints if "412" not in text]  # which it should be
    _send(site, "PATCH", f"/api/v1{note}", {"title": "What a hit costs"})


def _open_attacks(tab: Tab, site: Site) -> None:
    """Open notes that would run a script, in every page that shows them. Raises StackError."""
    for attack in _ATTACKS:
        note = _send(site, "POST", "/api/v1/notes", {"title": attack, "content": attack})
        for path in ("", "/edit", "/delete"):
            tab.open(f"{site.url}/notes/{note['id']}{path}")
            _require(tab, "document.querySelectorAll('script, iframe, img, style').length === 0")
        tab.open(f"{site.url}/?userId={_USER}")
        _require_no_complaint(tab)
        _send(site, "DELETE", f"/api/v1/notes/{note['id']}", None)


def _shoot_others(tab: Tab, site: Site, note: str, folder: Path) -> None:
    """Take the pictures in the dark and on a phone, where no page may be wider than the window."""
    tab.show_as(width=1120, height=720, dark=True)
    tab.open(f"{site.url}/?userId=abc&q=")
    tab.shoot(folder / "page-dark.png")
    for dark in (True, False):
        tab.show_as(width=_PHONE[0], height=_PHONE[1], dark=dark, phone=True)
        for path in ("/", "/notes/new", f"{note}/edit", f"{note}/delete", note):
            tab.open(f"{site.url}{path}")
            _require(tab, "document.documentElement.scrollWidth <= innerWidth")
    tab.evaluate("document.querySelector('.strip').scrollIntoView()")
    tab.show_as(width=_PHONE[0], height=1300, phone=True)
    tab.shoot(folder / "page-phone.png")
    tab.show_as(width=1280, height=980)


def _require(tab: Tab, condition: str) -> None:
    if not tab.evaluate(condition):
        raise StackError(f"{tab.evaluate('location.href')}: not true: {condition}")


def _require_no_complaint(tab: Tab) -> None:
    if tab.complaints:
        raise StackError(f"{tab.evaluate('location.href')}: {'; '.join(tab.complaints)}")


def _send(site: Site, method: str, path: str, body: object) -> dict[str, str]:
    host, port = address(site.url)
    connection = HTTPConnection(host, port, timeout=10)
    headers = {"X-User-Id": _USER, "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status >= 400:
        raise StackError(f"{method} {path}: {reply.status} {text.decode()}")
    fields: dict[str, str] = json.loads(text or b"{}")
    return fields


def _print(times: dict[str, list[dict[str, float]]]) -> None:
    """Print the median and the slowest of each time of each page, in milliseconds."""

    def rows() -> Iterator[tuple[str, ...]]:
        for page, loads in times.items():
            for name in loads[0]:
                values = [load[name] for load in loads]
                yield page, name, f"{statistics.median(values):.1f}", f"{max(values):.1f}"

    table = Table("page", "until", "median ms", "slowest ms", title=f"{_LOADS} loads each")
    for row in rows():
        table.add_row(*row)
    Console(width=100).print(table)
