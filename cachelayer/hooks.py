"""
Where an experiment, a drill or a test may intervene in a process of its own, or observe it, for a trace.

Empty in service but for observe.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, Literal

Scope = Literal["all", "process", "none"]
Operation = Literal["look", "begin", "load", "end"]
Report = Callable[[str], None]  # of the outcome, such as hit, leased, loaded or stored

before_store: list[Callable[[], None]] = []  # called between a load and the storing of its value
before_unlink: list[Callable[[Sequence[str]], None]] = []  # called with the tags to invalidate
# With whom a missed read may share one load: with all processes, with its own, or with nobody.
single_flight_scope: ContextVar[Scope] = ContextVar("single_flight_scope", default="all")


_UNOBSERVED: Final = nullcontext[Report](lambda outcome: None)


def _unobserved(operation: Operation, namespace: str) -> AbstractContextManager[Report]:
    return _UNOBSERVED


# Called with each operation and the name of its namespace (the first, of several keys). The operation
# runs within what it returns, which gives the operation the function to report its outcome by; an operation
# that raises has none. It must not raise.
observe: Callable[[Operation, str], AbstractContextManager[Report]] = _unobserved
