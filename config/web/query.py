"""Query strings read strictly: every mistake is reported in one reply."""

import re
from collections.abc import Iterable

from django.http import QueryDict
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request


class Parameters:
    """A query string read strictly: mistakes are collected, so that one reply names them all."""

    def __init__(self, query: QueryDict, *, known: Iterable[str]) -> None:
        self._query = query
        self._mistakes: dict[str, list[ErrorDetail]] = {}
        for name, values in query.lists():
            if name not in known:
                self.refuse(
                    name, f"Unknown parameter; known are {', '.join(known) or 'none'}.", "unknown"
                )
            elif len(values) > 1:
                self.refuse(name, "Given more than once.", "repeated")
            elif "\0" in values[0]:
                self.refuse(name, "Null characters are not allowed.", "null_characters_not_allowed")

    def refuse(self, name: str, message: str, code: str = "invalid") -> None:
        """Record a mistake."""
        self._mistakes.setdefault(name, []).append(ErrorDetail(message, code))

    @property
    def are_good(self) -> bool:
        """Return whether no mistake has been found so far."""
        return not self._mistakes

    def end(self) -> None:
        """Raise ValidationError with every mistake, if there is one."""
        if self._mistakes:
            raise ValidationError(self._mistakes)

    def text(self, name: str) -> str | None:
        """Return the value as it is, None where it is absent."""
        value: str | None = self._query.get(name)
        return value

    def boolean(self, name: str) -> bool:
        """Return False where the value is false, else True."""
        value = self._query.get(name, "true")
        if value not in ("true", "false"):
            self.refuse(name, "Must be true or false.")
        return value != "false"

    def integer(self, name: str, *, default: int, most: int) -> int:
        """Return a whole number from 1 to most."""
        text = self._query.get(name)
        if text is None:
            return default
        if re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= most:
            return int(text)
        self.refuse(name, f"Must be a whole number from 1 to {most}.", "out_of_range")
        return default


def parse_single(request: Request) -> None:
    """Check the query of a read of a single resource. Raises ValidationError."""
    if request._request.META.get("QUERY_STRING"):  # without one, a hit need not parse it
        parameters = Parameters(request.query_params, known=("cache",))
        parameters.boolean("cache")
        parameters.end()
