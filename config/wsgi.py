"""The WSGI application that granian serves, and its background threads."""

import os

from django.core.wsgi import get_wsgi_application

from config.web import gateway

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# A process that serves requests keeps pools and deadlines; commands are patient (see settings.SERVES_REQUESTS).
os.environ.setdefault("SERVES_REQUESTS", "true")

gateway.remove_request_variables()
application = gateway.with_complete_bodies(get_wsgi_application())

from activity import services as activity  # noqa: E402  # needs the settings that the line above loads
from cachelayer import background  # noqa: E402
from profiles import change_stream  # noqa: E402

background.start()
change_stream.start_in_background()
activity.start_shipping()
