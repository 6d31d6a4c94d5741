"""
Commands of manage.py one after the other in one process, since Django's start costs a second.

Run as a process of its own, with the site's environment: the commands as JSON in its argument.
"""

import json
import os
import sys

import django
from django.core.management import call_command

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for command in json.loads(sys.argv[1]):
        call_command(*command)
