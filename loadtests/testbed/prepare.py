"""
Commands of manage.py one after the other in one process, since Django's start costs a second.

Run as a process of its own, with the site's environment: the commands as JSON in its argument.
Options that a command of another revision does not know are left out.
"""

import json
import os
import sys

import django
from django.core.management import call_command, get_commands, load_command_class

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for name, *words in json.loads(sys.argv[1]):
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        _, unknown = parser.parse_known_args(words)
        call_command(name, *(word for word in words if word not in unknown))
