"""How manage.py and config.commands end: in one line, in place of a traceback."""

import json
import os
import signal
import subprocess
import sys

import pytest

from config.commands import ending_in_one_line
from config.stack import ROOT
from config.stack.process import free_port

MEASURING = ["pool_advice", "--seconds", "60"]


@pytest.mark.parametrize(
    "program", [["manage.py", *MEASURING], ["-m", "config.commands", json.dumps([MEASURING])]]
)
def test_an_interruption_is_one_line_and_status_130(stack, program):
    measuring = subprocess.Popen(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, **stack.urls()},
        stderr=subprocess.PIPE,
        text=True,
        # A process in the background of a shell, as this one may be, ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while (line := measuring.stderr.readline()) and "Measuring" not in line:
            pass
        measuring.send_signal(signal.SIGINT)
        _, errors = measuring.communicate(timeout=30)
    finally:
        measuring.kill()

    assert (measuring.returncode, errors) == (130, "Interrupted.\n")


@pytest.mark.parametrize("program", [["manage.py", "check"], ["-m", "config.commands", "[]"]])
def test_a_wrong_setting_is_one_line(program):
    ended = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "WEB_WORKERS": "many"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("manage.py: ")
    assert "WEB_WORKERS" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "program",
    [
        ["manage.py", "spectacular"],
        ["manage.py", "diffsettings"],  # few bytes: they are written at the end
        ["-m", "config.stack", "--name", "never", "status"],
    ],
)
def test_a_reader_that_is_gone_is_no_traceback(stack, program):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, **stack.urls()},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_another_broken_pipe_is_not_taken_for_the_reader_s(capfd):
    with pytest.raises(BrokenPipeError), ending_in_one_line("manage.py"):
        raise BrokenPipeError


@pytest.mark.parametrize(
    "command",
    [
        ["activity_reconcile"],
        ["seed_activity", "--count=1"],
        ["seed_activity", "--reset", "--no-input"],
    ],
)
def test_a_mongodb_that_is_away_is_not_awaited_for_minutes(stack, tmp_path, command):
    nowhere = f"mongodb://127.0.0.1:{free_port()}/trilith"
    ended = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={
            **os.environ,
            **stack.urls(),
            "MONGODB_URI": nowhere,
            "ACTIVITY_SPOOL_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=50,  # less than a batch may take
    )

    assert ended.returncode == 1
    assert "CommandError: MongoDB" in ended.stderr
    assert "Connection refused" in ended.stderr
