"""python -m config.stack.site: what it reads from the environment."""

import os
import subprocess
import sys

import pytest

from config.stack import ROOT


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "abc", "must be a port number from 1 to 65535"),
        ("PORT", "0", "must be a port number from 1 to 65535"),
        ("WEB_WORKERS", "2.5", "must be a whole number from 1 to 1000"),
        ("WEB_THREADS", "-1", "must be a whole number from 1 to 1000"),
        ("SHUTDOWN_NOTICE_SECONDS", "soon", "must be a number from 0 to 3600"),
        ("SHUTDOWN_NOTICE_SECONDS", "nan", "must be a number from 0 to 3600"),
    ],
)
def test_what_is_no_number_is_one_line_that_names_the_variable(name, value, reason):
    done = subprocess.run(
        [sys.executable, "-m", "config.stack.site"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], name: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"site: {name}={value!r}: {reason}\n"
