"""The WSGI application that granian serves, and its background threads."""

import gc
import os
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.web import gateway
from config.web.cpu_pinning import pin_to_free_cpu

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# A process that serves requests keeps pools and deadlines; commands are patient (see settings.SERVES_REQUESTS).
os.environ.setdefault("SERVES_REQUESTS", "true")

gateway.remove_request_variables()
if settings.WEB_CPU_PINNING:
    pin_to_free_cpu()  # before any thread is started
if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
    from config.observability import telemetry  # OpenTelemetry, which other sites need not have

    telemetry.start()  # before the clients and the middlewares are made that it instruments
_django = gateway.with_complete_bodies(get_wsgi_application())

from activity import services as activity  # noqa: E402  # needs the settings that the line above loads
from cachelayer import background  # noqa: E402
from config.observability import probes, traces  # noqa: E402
from config.web.edge import Edge  # noqa: E402
from config.web.rate_limits import limiter_of_settings  # noqa: E402
from profiles import change_stream  # noqa: E402

# A hit waits for the interpreter at most so long, behind each thread that computes; Python's own 5 ms
# are hundreds of hits (docs/adr/0024-the-edge.md).
sys.setswitchinterval(0.0005)
limiter = limiter_of_settings()
application = Edge(
    _django,
    is_sampled=traces.sampler_of_settings(),
    keep_slow=traces.keep_slow_hit,
    never_waiting=probes.PATHS,
    limiter=limiter,
)

# What has been imported stays: a full collection would stop every request for as long as it takes to look at all of it.
gc.collect()
gc.freeze()
background.start()
if limiter is not None:
    limiter.start_in_background()
change_stream.start_in_background()
activity.start_shipping()
