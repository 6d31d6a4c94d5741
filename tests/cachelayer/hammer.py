"""
Processes of one host that read and write the same values as fast as they can, and count stale reads.

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
from pathlib import Path
from typing import Any

import django
import msgspec

VALUES = 4
WORDS = 2 * VALUES  # of each value the version in the store, and the newest one answered


class Version(msgspec.Struct, frozen=True):
    """What is cached."""

    number: int


def main(store: str, mine: int, seconds: float, *, naive: bool) -> dict[str, int]:
    """Write one value and read all; return how often what happened."""
    django.setup()
    from cachelayer import background, first_level, hooks, slots  # noqa: PLC0415  # after django.setup
    from cachelayer.invalidation import invalidate  # noqa: PLC0415
    from cachelayer.namespace import Namespace  # noqa: PLC0415
    from cachelayer.read import get_or_load  # noqa: PLC0415

    with Path(store).open("r+b") as file:
        versions = memoryview(mmap.mmap(file.fileno(), 8 * WORDS)).cast("Q")
    namespace: Any = Namespace(
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
    if naive:
        overwrite = slots.overwrite

        def before(tags: Any) -> None:
            overwrite(tags)
            time.sleep(0.002)

        hooks.before_unlink.append(before)
        slots.overwrite = lambda tags: None
    background.start()
    counts: Counter[str] = Counter()
    pause = threading.Event()
    start = time.monotonic()
    while first_level.reason_off() is not None and time.monotonic() < start + 30:
        pause.wait(0.05)
    end = time.monotonic() + seconds

    def write() -> None:
        while time.monotonic() < end:
            versions[mine] += 1
            number = versions[mine]
            invalidate(f"version:{mine}")
            versions[VALUES + mine] = number
            counts["writes"] += 1
            pause.wait(0.02)

    def read(number: int) -> None:
        key = namespace.key(str(number))
        while time.monotonic() < end:
            answered = versions[VALUES + number]
            cached = get_or_load(key, lambda: Version(versions[number]))
            counts[cached.source.value] += 1
            counts["reads"] += 1
            if cached.value.number < answered:
                counts["stale"] += 1
            if counts["reads"] % 10 == 0:
                pause.wait(0.001)  # the threads of the lease and of the level need their turn

    threads = [threading.Thread(target=write)]
    threads += [threading.Thread(target=read, args=(number,)) for number in range(VALUES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(counts)


if __name__ == "__main__":
    _, file_of_store, value, duration, variant = sys.argv
    result = main(file_of_store, int(value), float(duration), naive=variant == "naive")
    sys.stdout.write(json.dumps(result))
