"""The clock that all processes of a host share, and that goes on while the host is suspended."""

import sys
import time
from typing import Final

if sys.platform == "linux":
    SINCE_BOOT: Final = time.CLOCK_BOOTTIME
else:  # macOS has no such clock; there CLOCK_MONOTONIC goes on during sleep (its clock_gettime(3))
    SINCE_BOOT: Final = time.CLOCK_MONOTONIC
