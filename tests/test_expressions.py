"""No regular expression of the project takes more than linear work, whatever it is given."""

import os
import subprocess
import sys

from config.stack import ROOT


def test_each_ends_on_100_000_of_each_awkward_character():
    """In a process of its own, since an expression that runs away cannot be stopped otherwise."""
    # Linear, all take a few seconds; quadratic, a single one takes more than the deadline.
    done = subprocess.run(
        [sys.executable, "-m", "tests.expressions"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("All end.\n")
    assert len(done.stdout.splitlines()) > 40
