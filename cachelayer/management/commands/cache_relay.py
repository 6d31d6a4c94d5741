"""manage.py cache_relay: deliver invalidations outside of the site."""

import signal
from typing import Any

from django.core.management.base import BaseCommand

from cachelayer.relay import Relay


class Command(BaseCommand):
    help = (
        "Deliver what the outbox holds until Ctrl-C or SIGTERM: edits made past the service, and "
        "what a crash or an outage of Redis left behind. The site does the same; run this where "
        "the database is written while no site runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        relay = Relay()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: relay.stop())
        self.stdout.write("Relaying; Ctrl-C ends it.")
        self.stdout.flush()  # also where it is read through a pipe
        relay.run()
