"""
One CPU for each process of the site: its threads then take turns instead of fighting for the interpreter.

Only one thread of a process computes at a time. On several CPUs each hand-over of the interpreter wakes
a thread on another CPU, which costs about as much as a hit (docs/adr/0024-the-edge.md has the figures).
"""

import os
import socket
import sys

# Held until the process ends, however it ends: so nobody has to give a CPU back.
_claim: socket.socket | None = None


def pin_to_free_cpu(site: str = "trilith") -> int | None:
    """
    Run this thread, and those that it starts, on a CPU that no other process of a site has claimed.

    Return its number; None, and change nothing, where all are claimed, or the system cannot (only Linux can).
    site: the name under which its processes claim.
    """
    global _claim
    if sys.platform != "linux":
        return None
    for cpu in sorted(os.sched_getaffinity(0)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract name (unix(7)): it is unique on the host, or in the container, and leaves no file.
            claim.bind(f"\0{site}-cpu-{cpu}")
        except OSError:
            claim.close()
            continue
        os.sched_setaffinity(0, {cpu})
        _claim = claim
        return cpu
    return None
