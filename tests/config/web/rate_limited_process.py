"""
One of several processes that count requests of one caller at once. Run by test_rate_limits.py.

Prints "ready", and once a line comes in, sends requests from several threads until all are sent; prints how
many were admitted, and how often Redis was called for that.
"""

import sys
import threading

import django

if __name__ == "__main__":
    django.setup()

from limits import parse

from cachelayer import client
from config.web.rate_limits import RateLimiter
from tests.wsgi import environ_of

THREADS = 4


def main(rate: str, requests: int, *, is_hit: bool) -> None:
    limiter = RateLimiter({"read": parse(rate)})
    limiter.start_in_background()
    environ = environ_of("GET", "/api/v1/notes", {"X-User-Id": "abc"})
    calls: list[str] = []
    client.observers.append(lambda operation, started, seconds: calls.append(operation))
    admitted: list[int] = []

    def send() -> None:
        refusals = [limiter.refusal(environ, is_hit=is_hit) for _ in range(requests // THREADS)]
        admitted.append(refusals.count(None))

    threads = [threading.Thread(target=send) for _ in range(THREADS)]
    client.ping()  # the connection is there
    _say("ready")
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _say(f"{sum(admitted)} {calls.count('limit')}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), is_hit=sys.argv[3] == "hits")
