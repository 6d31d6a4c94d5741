"""
What the processes of a host (cachelayer.hosts) and its listener must write alike into the register of hosts.

Without Django: the listener, a process of its own, reads it as well.
"""

import os
from typing import Final

ID: Final = b"id"  # the field of the register's own id
LIFETIME_SECONDS: Final = 24 * 3600  # of a register that nobody renews
LEASE_SECONDS: Final = 1.5  # for at most so long a listener vouches, from its renewal on
VOUCHED_SECONDS: Final = LEASE_SECONDS * 0.95  # as it counts itself: no two clocks run alike

_ID_BYTES: Final = 8


def new_id() -> bytes:
    """Return a random id: of a register, a renewal, a session, a message, a host without a file of slots."""
    return id_of(int.from_bytes(os.urandom(_ID_BYTES)))


def id_of(word: int) -> bytes:
    """Return the id that a 64-bit word stands for, in hexadecimal."""
    return b"%016x" % word


def state_of(session: bytes, *, is_on: bool) -> bytes:
    """Return a host's state in the register: "on:" or "off:" and the session, then a new renewal's number."""
    return b"%s:%s %s" % (b"on" if is_on else b"off", session, new_id())


def session_of(state: bytes) -> bytes:
    """Return what of a state is the same for as long as its host neither ends its session nor goes on or off."""
    return state.partition(b" ")[0]


def is_acknowledging(state: bytes) -> bool:
    """Return whether a host with this state acknowledges; one of an earlier version has no session."""
    return b":" in session_of(state)


def acknowledgements_name(register: str, message: str) -> str:
    """Return the name in Redis of the list of the hosts that have acknowledged a message."""
    return f"{register}:{message}"
