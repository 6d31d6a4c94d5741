"""Several processes with first levels, of one host and of two, over real servers and under faults: no stale read."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import redis
from django.db import connection

from config.stack import ROOT
from tests.cachelayer.hammer import WORDS

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES = 3
SECONDS = 8.0  # enough for each fault to come once


@pytest.fixture
def hammer(settings, tmp_path, stack):
    """Run the processes, and meanwhile the faults until an event is set; return the sum of their counts."""
    store = tmp_path / "versions"
    store.write_bytes(bytes(8 * WORDS))
    name = connection.settings_dict["NAME"]
    environment = os.environ | {
        "DATABASE_URL": os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}",
        "CACHE_PREFIX": settings.CACHELAYER["PREFIX"],
        "LOG_LEVEL": "ERROR",
    }

    def run(
        faults, *, variant: str = "protocol", seconds: float = SECONDS, hosts: int = 1
    ) -> Counter:
        processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.cachelayer.hammer"),
                    *(str(store), str(number), str(seconds), variant),
                ],
                cwd=ROOT,
                env=environment | {"CACHE_SLOTS_DIR": slots_folder(settings, number % hosts)},
                stdout=subprocess.PIPE,
            )
            for number in range(max(PROCESSES, 2 * hosts))
        ]
        over = threading.Event()
        meanwhile = threading.Thread(target=faults, args=(over, processes))
        meanwhile.start()
        total: Counter = Counter()
        try:
            for process in processes:
                output, _ = process.communicate(timeout=120)
                total += Counter(json.loads(output))
        finally:
            over.set()
            meanwhile.join()
            for process in processes:
                process.kill()
                process.wait()
        return total

    return run


def slots_folder(settings, host: int) -> str:
    """Return the folder of the slots of a host; of the first it is this process's, too."""
    return f"{settings.CACHELAYER['SLOTS_DIR']}{host or ''}"


def listener_of(processes) -> psutil.Process | None:
    """Return the one listener that the processes have."""
    for process in processes:
        try:
            for child in psutil.Process(process.pid).children():
                if "cachelayer.listener" in child.cmdline():
                    return child
        except psutil.NoSuchProcess:
            continue
    return None


def stop_listener(processes, seconds: float) -> None:
    """Stop it for so long: it vouches to the end of its lease, and hears nothing."""
    listener = listener_of(processes)
    if listener is None:
        return
    try:
        listener.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        listener.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        pass


def test_no_read_is_stale_through_flushes_stops_kills_and_a_file_made_anew(hammer, stack, settings):
    def faults(over, processes):
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            steps = [
                operator.flushdb,
                lambda: stop_listener(processes, 1.0),
                lambda: stack.pause("redis") or time.sleep(0.7) or stack.resume("redis"),
                lambda: (listener := listener_of(processes)) and listener.kill(),
                lambda: operator.client_kill_filter(_type="normal"),
                lambda: [
                    file.unlink() for file in Path(settings.CACHELAYER["SLOTS_DIR"]).glob("*.slots")
                ],
            ]
            while not over.wait(0.7):
                steps.append(steps.pop(0))
                steps[-1]()

    total = hammer(faults)

    assert not total["stale"], total
    assert total["writes"] > 20, total
    assert total["first-level"] > 500, total


def test_no_read_is_stale_where_the_file_is_cut_off_and_moved_away(hammer, settings):
    def faults(over, processes):
        over.wait(1.5)
        for file in Path(settings.CACHELAYER["SLOTS_DIR"]).glob("*.slots"):
            os.truncate(file, file.stat().st_size // 2)
            over.wait(1.0)
            file.unlink()

    total = hammer(faults, seconds=4.0)

    assert not total["stale"], total
    assert total["writes"] > 20, total
    assert total["first-level"] > 500, total


def of_two_hosts(processes):
    """Yield the processes of one host, then those of the other, for ever."""
    return itertools.cycle([processes[::2], processes[1::2]])


def test_no_read_is_stale_on_two_hosts(hammer, stack):
    def faults(over, processes):
        with redis.Redis.from_url(stack.operator_urls()["REDIS_URL"]) as operator:
            hosts = of_two_hosts(processes)
            steps = [
                lambda: stop_listener(next(hosts), 1.0),
                lambda: (listener := listener_of(next(hosts))) and listener.kill(),
                operator.flushdb,
                lambda: operator.client_kill_filter(_type="pubsub"),
                operator.script_flush,
                lambda: stop_listener(next(hosts), 2.0),
                lambda: (listener := listener_of(next(hosts))) and listener.kill(),
            ]
            while not over.wait(0.7):
                steps.append(steps.pop(0))
                steps[-1]()

    total = hammer(faults, hosts=2)

    assert not total["stale"], total
    assert total["writes"] > 20, total
    assert total["first-level"] > 500, total


def test_slots_before_the_unlink_are_found_out(hammer):
    def faults(over, processes):
        while not over.wait(0.05):
            stop_listener(processes, 0.8)

    assert hammer(faults, variant="naive")["stale"]


def test_without_faults_most_reads_take_no_round_trip(hammer):
    total = hammer(lambda over, processes: None, seconds=2.0)

    assert not total["stale"], total
    assert total["first-level"] > total["reads"] / 2, total
