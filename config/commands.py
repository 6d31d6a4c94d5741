"""
Commands of manage.py one after the other in one process, since Django's start costs a second.

Run as a process of its own: the commands as JSON in its argument, each a list of words. It ends with the
status of the first that fails, and says what manage.py would. Options that a command of another revision of
this project does not know are left out.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands, load_command_class

from config.stack.process import ending_with_its_reader


@contextlib.contextmanager
def ending_in_one_line(program: str) -> Iterator[None]:
    """
    Exit in place of a traceback.

    Where a setting is wrong, after Ctrl-C of a command with no line of its own, and where nobody reads the output.
    """
    try:
        with ending_with_its_reader():
            yield
    except ImproperlyConfigured as exc:  # it names the variable; a traceback would bury it
        sys.exit(f"{program}: {exc}")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)  # as a shell reports SIGINT


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    with ending_in_one_line("manage.py"):
        django.setup()
        for name, *words in json.loads(sys.argv[1]):
            command = load_command_class(get_commands()[name], name)
            _, unknown = command.create_parser("manage.py", name).parse_known_args(words)
            command.run_from_argv(
                ["manage.py", name, *(word for word in words if word not in unknown)]
            )
