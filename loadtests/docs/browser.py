"""Headless Chromium, steered by the DevTools protocol: pages, keys, devices, pictures."""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import websocket

from config.stack.process import StackError, wait_until

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DEADLINE_SECONDS: Final = 60
_END_SECONDS: Final = 10


def installed_browser() -> str:
    """Return the path of the browser. Raises StackError where none is on PATH."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise StackError(f"no browser is on PATH: install one of {', '.join(BROWSERS)}")
    return browser


class Tab:
    """A page of a browser. complaints are the errors that it has reported: of scripts, policies, loads."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the result of a method of the protocol. Raises StackError where it has none."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") != number:
                continue
            if "error" in message:
                raise StackError(f"{method}: {message['error']}")
            return message["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page; the page's policy does not concern it."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise StackError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        with self.loading():
            self.call("Page.navigate", url=url)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Wait after the block until the page that it leads to is loaded."""
        self._events.clear()
        yield
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()

    def press(self, key: str) -> None:
        """Press Tab, Enter or another key."""
        text = {"Enter": "\r"}.get(key, "")
        code = {"Enter": 13, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def tab_to(self, selector: str, *, presses_max: int = 60) -> None:
        """Press Tab until the element has the focus. Raises StackError where it never gets it."""
        for _ in range(presses_max):
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise StackError(f"Tab does not lead to {selector}")

    def type(self, text: str) -> None:
        """Type over what the focused field holds."""
        self.evaluate("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def show_as(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the window in CSS pixels, the colour scheme, and the kind of device."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, file: Path) -> None:
        """Write what the window shows."""
        picture = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(picture["data"]))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        method = message.get("method", "")
        if method == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"].get("text")))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {message['params']['message']}")
            self._socket.send(
                json.dumps(
                    {
                        "id": next(self._numbers),
                        "method": "Page.handleJavaScriptDialog",
                        "params": {"accept": True},
                    }
                )
            )
        if method:
            self._events.append(message)
        return message


@contextmanager
def running_tab() -> Iterator[Tab]:
    """Start a browser without a profile; yield a page of it. Raises StackError."""
    browser = installed_browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-background-networking", "--disable-extensions", "--no-first-run"),
                *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port_file = Path(folder) / "DevToolsActivePort"
            if not wait_until(
                lambda: port_file.exists() and port_file.read_text().strip() != "",
                _DEADLINE_SECONDS,
            ):
                raise StackError(f"{browser} does not start")
            port = int(port_file.read_text().split()[0])
            request = Request(
                f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"
            )  # loopback
            with urlopen(request, timeout=_DEADLINE_SECONDS) as reply:  # noqa: S310  # loopback
                address = json.load(reply)["webSocketDebuggerUrl"]
            socket = websocket.create_connection(
                address, timeout=_DEADLINE_SECONDS, suppress_origin=True
            )
            try:
                yield Tab(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def milliseconds_of_load(tab: Tab, url: str) -> dict[str, float]:
    """Open a page; return when its first byte came, its content was painted, and it was loaded."""
    started = time.perf_counter()
    tab.open(url)
    seconds = time.perf_counter() - started
    times: dict[str, float] = tab.evaluate(
        "new Promise(resolve => { const seen = () => {"
        " const n = performance.getEntriesByType('navigation')[0];"
        " const p = performance.getEntriesByName('first-contentful-paint')[0];"
        " if (!p) return setTimeout(seen, 10);"
        " resolve({'first byte': n.responseStart - n.startTime, 'content painted': p.startTime,"
        " 'loaded': n.loadEventEnd - n.startTime}); }; seen(); })"
    )
    return times | {"seen from outside": seconds * 1000}
