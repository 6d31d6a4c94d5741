"""manage.py health_check: the health of a running site, for container probes; exit status 0 if healthy."""

import http.client
import urllib.request
from email.message import Message
from typing import IO, Any, NoReturn
from urllib.error import HTTPError

from health_check.management.commands import health_check


class Command(health_check.Command):
    """django-health-check's command, which expects a 500 for failure, and HTTPS where the site has it."""

    def handle(self, *args: Any, **options: Any) -> None:
        urllib.request.install_opener(
            urllib.request.build_opener(_Site, urllib.request.ProxyHandler({}))
        )
        try:
            super().handle(*args, **options)
        except SystemExit as end:
            if isinstance(end.__context__, HTTPError):
                end.__context__.close()  # it is the reply, which the command leaves open
            raise
        finally:
            urllib.request.install_opener(None)  # restores the default


class _Site(urllib.request.HTTPSHandler):
    """Connects in plain HTTP, behind whatever terminates TLS, and understands a 503."""

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(http.client.HTTPConnection, request)

    def http_error_503(
        self,
        request: urllib.request.Request,
        body: IO[bytes],
        code: int,
        reason: str,
        headers: Message,
    ) -> NoReturn:
        """Pass a 503 on as the 500 by which the command prints the body and exits with 1."""
        raise HTTPError(request.full_url, 500, reason, headers, body)
