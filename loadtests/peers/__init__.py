"""
What the site is measured beside, under the same server: the limit, and what others build.

- bare: a function that returns recorded bytes; no WSGI application on this server can be faster.
- drf: Django with DRF's ModelViewSet over the table of notes; with django-cacheops where REDIS_URL is set.
"""
