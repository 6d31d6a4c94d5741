"""The application that a server runs, and its background threads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
application = get_wsgi_application()

from cachelayer import background  # noqa: E402  # it needs the settings

background.start()
