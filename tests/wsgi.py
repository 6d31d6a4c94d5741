"""The site as granian calls it: a WSGI environ in, status, headers and body out."""

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from django.core.handlers.wsgi import WSGIHandler

from config.observability import traces
from config.web import gateway
from config.web.edge import Edge
from config.web.rate_limits import limiter_of_settings


@dataclass(frozen=True)
class Reply:
    """What a WSGI application has replied."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]


class Site:
    """The site as config.wsgi composes it; passed counts the requests that the edge has let through."""

    def __init__(self) -> None:
        self._django = gateway.with_complete_bodies(WSGIHandler())
        self.limiter = limiter_of_settings()
        self.edge = Edge(
            self._pass,
            is_sampled=traces.sampler_of_settings(),
            keep_slow=traces.keep_slow_hit,
            limiter=self.limiter,
        )
        self.passed = 0

    def _pass(self, environ, start_response):
        self.passed += 1
        return self._django(environ, start_response)

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request to the edge; in the names of headers, underscores stand for hyphens."""
        return reply_of(self.edge, environ_of(method, target, headers, body))

    def send_past_edge(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request to what stands behind the edge."""
        return reply_of(self._django, environ_of(method, target, headers, body))


def environ_of(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> dict:
    """Return what granian makes of a request."""
    path, _, query = target.partition("?")
    environ = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "Granian",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in {"Host": "localhost", **(headers or {})}.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def reply_of(application, environ: dict) -> Reply:
    """Call a WSGI application as a server does."""
    replied = []
    body = application(environ, lambda status, headers: replied.append((status, headers)))
    content = b"".join(body)
    if hasattr(body, "close"):
        body.close()
    [(status, headers)] = replied
    return Reply(int(status[:3]), headers, content)
