"""
Processes of one host, or of several, that read and write the same values as fast as they can, and count stale reads.

The store is a file of versions that all map; a write raises one, and is answered once
cachelayer has invalidated it. Before each read the newest answered version is noted: the read may
not return less. Run by test_first_level_hammer.py, which makes the faults meanwhile.
"""

import json
import mmap
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import django
import msgspec

if __name__ == "__main__":
    django.setup()

from cachelayer import background, first_level, hooks, slots
from cachelayer.invalidation import invalidate
from cachelayer.namespace import Namespace
from cachelayer.read import get_or_load

VALUES = 4
STALE = 2 * VALUES  # the word that is set by a stale read, which ends all processes
WORDS = STALE + 1  # the rest: of each value the version in the store, and the newest one answered


class Version(msgspec.Struct, frozen=True):
    """What is cached."""

    number: int


class Hammer:
    """One process: it writes one value, and reads all."""

    def __init__(self, store: Path, mine: int) -> None:
        with store.open("r+b") as file:
            self.versions = memoryview(mmap.mmap(file.fileno(), 8 * WORDS)).cast("Q")
        self.mine = mine
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self.namespace = Namespace(
            name="versions",
            pattern="versions:{number}",
            prefix="versions:",
            member="[0-9]+",
            example="versions:1",
            tags_of=lambda member: (f"version:{member}", "versions:all"),
            schema=1,
            value_type=Version,
            ttl_seconds=60,
            absent_ttl_seconds=60,
            holds="a version",
            invalidated_by="the hammer",
        )

    def run(self, seconds: float) -> None:
        """Go on for so long, or to a stale read, from when the level is on, for which it waits 30 s."""
        start = time.monotonic()
        while first_level.reason_off() is not None and time.monotonic() < start + 30:
            self.over.wait(0.05)
        threads = [threading.Thread(target=self.write)]
        threads += [threading.Thread(target=self.read, args=(n,)) for n in range(VALUES)]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()

    def write(self) -> None:
        while not self.over.wait(0.02):
            self.versions[self.mine] += 1
            number = self.versions[self.mine]
            invalidate(f"version:{self.mine}")
            self.versions[VALUES + self.mine] = number
            self.counts["writes"] += 1
            if self.versions[STALE]:
                self.over.set()

    def read(self, number: int) -> None:
        key = self.namespace.key(str(number))
        while not self.over.is_set():
            answered = self.versions[VALUES + number]
            cached = get_or_load(key, lambda: Version(self.versions[number]))
            self.counts[cached.source.value] += 1
            self.counts["reads"] += 1
            if cached.value is None or cached.value.number < answered:
                self.counts["stale"] += 1
                self.versions[STALE] = 1
            if self.counts["reads"] % 10 == 0:
                time.sleep(0.001)  # the threads of the lease and of the level need their turn


def overwrite_slots_first() -> None:
    """Have each write overwrite the slots before its UNLINK instead of after it."""
    overwrite, overwritten = slots.overwrite, threading.local()

    def before(tags: Sequence[str]) -> None:
        overwritten.host = overwrite(tags)
        time.sleep(0.002)

    hooks.before_unlink.append(before)
    slots.overwrite = lambda tags: getattr(overwritten, "host", None)


def main() -> None:
    """Run a process: its store, its value, its seconds, and naive or protocol."""
    _, store, mine, seconds, variant = sys.argv
    if variant == "naive":
        overwrite_slots_first()
    background.start()
    hammer = Hammer(Path(store), int(mine))
    hammer.run(float(seconds))
    sys.stdout.write(json.dumps(hammer.counts))


if __name__ == "__main__":
    main()
