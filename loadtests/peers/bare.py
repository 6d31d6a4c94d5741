"""
The limit: a WSGI function that returns constant bytes, with the headers of this project's responses.

BARE_RESPONSES names a JSON file of {path with query: [headers, body]}, which the bench records from
the site. A request with If-None-Match has the same headers and no body. No clock, no counter, no store.
Its processes have a CPU each, as those of the site.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from config.web.cpu_pinning import pin_to_free_cpu

Headers = list[tuple[str, str]]
_RECORDED: dict[str, tuple[Headers, str]] = json.loads(
    Path(os.environ["BARE_RESPONSES"]).read_text()
)
_RESPONSES = {
    path: ([(name, value) for name, value in headers], body.encode())
    for path, (headers, body) in _RECORDED.items()
}
_NOT_MODIFIED = {
    path: [(name, value) for name, value in headers if not name.lower().startswith("content-")]
    for path, (headers, _) in _RECORDED.items()
}
pin_to_free_cpu("bare")
_NOTHING: tuple[Headers, bytes] = ([("Content-Length", "0")], b"")


def application(
    environ: dict[str, Any], start_response: Callable[[str, Headers], object]
) -> Iterable[bytes]:
    """Answer 200 or 304 with what is recorded for the path; with nothing for any other."""
    query = environ["QUERY_STRING"]
    path = f"{environ['PATH_INFO']}?{query}" if query else environ["PATH_INFO"]
    if "HTTP_IF_NONE_MATCH" in environ:
        start_response("304 Not Modified", _NOT_MODIFIED[path])
        return ()
    headers, body = _RESPONSES.get(path, _NOTHING)
    start_response("200 OK", headers)
    return (body,)
