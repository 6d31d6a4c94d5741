"""Quantiles from buckets, and counts that outlive the process that counted."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from cachelayer import client, stats
from cachelayer import prometheus as counting
from config.stack import ROOT


class TestQuantile:
    @pytest.mark.parametrize(
        ("share", "milliseconds"), [(0.5, 1.0), (0.25, 0.5), (0.75, 1.5), (1.0, 2.0)]
    )
    def test_interpolates_within_the_bucket(self, share, milliseconds):
        counts = {0.001: 50.0, 0.002: 100.0, float("inf"): 100.0}

        assert counting.quantile(counts, share) == milliseconds

    def test_beyond_the_last_bound_it_is_that_bound(self):
        assert counting.quantile({0.001: 0.0, float("inf"): 10.0}, 0.5) == 1.0


class TestServerVersion:
    @pytest.mark.parametrize(
        ("info", "version"),
        [
            ({"redis_version": "7.4.2"}, "Redis 7.4.2"),
            (
                {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"},
                "Valkey 9.1.2",
            ),
            ({"redis_version": "6.2.11", "server_name": "other"}, "Other 6.2.11"),
        ],
    )
    def test_names_the_product(self, info, version):
        assert stats._version(info) == version


@pytest.mark.django_db
class TestSizes:
    def test_are_left_out_on_request(self, monkeypatch):
        here, operations = threading.get_ident(), []

        def observe(operation: str, *times: float) -> None:
            if threading.get_ident() == here:  # in others the lease is renewed
                operations.append(operation)

        monkeypatch.setattr(client, "observers", [observe])

        stats.cache_figures(with_sizes=False)
        with_sizes = stats.cache_figures()

        assert operations == ["info", "scan", "info"]
        assert all("entries" in row for row in with_sizes["namespaces"].values())


class TestProcesses:
    @pytest.fixture
    def run(self, tmp_path):
        """Run code in a process that counts into a folder of its own; return what it prints."""
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        setup = (
            "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; "
            "django.setup(); from cachelayer import metrics, prometheus, stats; "
        )

        def run(code: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", setup + code],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            return done.stdout.strip()

        return run

    def test_the_counts_of_a_dead_worker_are_not_lost(self, run):
        """Two processes count; one is killed hard; a third adds them up."""
        for ending in ("os.kill(os.getpid(), 9)", "pass"):
            run(f"metrics.reads('notes', 'hit').inc(21); {ending}")

        output = run("print(stats._sums(prometheus.samples()['cachelayer_reads_total'])['hit'])")

        assert float(output) == 42

    def test_its_state_is(self, run):
        """A breaker that was open in a process that is no more is not open."""
        run("metrics.breaker_changed(True); os.kill(os.getpid(), 9)")

        output = run("print(prometheus.total(prometheus.samples(), 'cachelayer_breaker_open'))")

        assert float(output) == 0

    def test_two_readers_may_find_it_dead_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        state = tmp_path / f"gauge_livesum_{ended.pid}.db"
        state.touch()
        forget = counting.mark_process_dead

        def after_another(pid: int) -> None:
            forget(pid)
            state.unlink()  # as os.remove fails within

        monkeypatch.setattr(counting, "mark_process_dead", after_another)

        counting.registry()

        assert not state.exists()
