"""How many commands a call sends to MongoDB."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from config import tracing


def sent_by(call: Callable[[], object]) -> int:
    """
    Return how many commands a call sends; getMore, sent once a batch, is not counted.

    Those of this thread alone: in others an earlier test's events may be on their way.
    """
    here, sent, add = threading.get_ident(), 0, tracing.add_statement

    def counting(store: str, *step: Any) -> None:
        nonlocal sent
        sent += store == "mongodb" and threading.get_ident() == here
        add(store, *step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "add_statement", counting)
        call()
    return sent
