"""Entry for the application server."""

import os

from django.core.wsgi import get_wsgi_application

from config import gateway

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# A process that serves requests keeps pools and deadlines; commands are patient (see settings.SERVES_REQUESTS).
os.environ.setdefault("SERVES_REQUESTS", "true")

gateway.silence_environment()
application = gateway.with_whole_bodies(get_wsgi_application())

from activity import services as activity  # noqa: E402  # needs the settings that the line above loads
from cachelayer import housekeeping  # noqa: E402
from profiles import watching  # noqa: E402

housekeeping.start()
watching.start_in_background()
activity.start_shipping()
