"""Where an experiment, a drill or a test may intervene in a process of its own; empty in service."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal

Scope = Literal["all", "process", "none"]

before_store: list[Callable[[], None]] = []  # called between a load and the storing of its value
before_unlink: list[Callable[[Sequence[str]], None]] = []  # called with the tags to invalidate
# With whom a missed read may share one load: with all processes, with its own, or with nobody.
single_flight_scope: ContextVar[Scope] = ContextVar("single_flight_scope", default="all")
