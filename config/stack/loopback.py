"""HTTP to what runs on this machine, from where there is no Django."""

import http.client
import urllib.request
from typing import Final


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """Leaves the status to the caller: an error raised for it would be a reply to close, too."""

    def http_response(
        self, request: urllib.request.Request, response: http.client.HTTPResponse
    ) -> http.client.HTTPResponse:
        return response


# It is on loopback, which a proxy from the environment could not reach.
direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _EveryStatus)
