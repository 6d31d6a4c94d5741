"""Numbers in environment variables, within bounds: for the settings, and for what starts before Django does."""

import contextlib
from typing import TypeVar

from config.stack.process import StackError

N = TypeVar("N", int, float)


def bounded(
    name: str, text: str | None, kind: type[N], noun: str, *, default: N, minimum: N, maximum: N
) -> N:
    """
    Return the number that a variable's text stands for, default where it is empty or None.

    Raises StackError, which names the variable, for what is no number of that kind within the bounds.
    """
    text = (text or "").strip()
    if not text:
        return default
    with contextlib.suppress(ValueError):
        number = kind(text)
        if minimum <= number <= maximum:  # a NaN compares as false
            return number
    raise StackError(f"{name}={text!r}: must be a {noun} from {minimum} to {maximum}")
