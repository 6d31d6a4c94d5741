"""python -m config.stack.site: what it reads from the environment."""

import os
import signal
import subprocess
import sys

import pytest

from config.stack import ROOT, site


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


class TestServe:
    @pytest.fixture(autouse=True)
    def _handlers(self):
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def served(self, monkeypatch, command):
        """Serve by a command instead of granian; return its exit status."""
        monkeypatch.setattr(site, "site_command", lambda port, **options: command)
        return site.serve(0, host="127.0.0.1", workers=1, threads=1, notice_seconds=0)

    def test_begins_with_metrics_of_nobody(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        (tmp_path / "gauge_livemin_7.db").touch()  # of a container that was killed
        (tmp_path / "somebody's").touch()

        assert self.served(monkeypatch, [sys.executable, "-c", ""]) == 0

        assert [left.name for left in tmp_path.iterdir()] == ["somebody's"]

    def test_stops_what_it_has_just_started(self, monkeypatch):
        started = subprocess.Popen

        def start(*arguments, **options):
            os.kill(os.getpid(), signal.SIGTERM)  # while the site starts
            return started(*arguments, **options)

        monkeypatch.setattr(site.subprocess, "Popen", start)

        status = self.served(monkeypatch, [sys.executable, "-c", "import time; time.sleep(60)"])

        assert status == -signal.SIGTERM
