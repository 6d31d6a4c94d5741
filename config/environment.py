"""Environment variables with bounds: a bad value stops the start with one line that names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any, Final

import environ
from django.core.exceptions import ImproperlyConfigured

from config.stack.bounded import bounded
from config.stack.process import StackError

if TYPE_CHECKING:
    from limits import RateLimitItem

Networks = list[IPv4Network | IPv6Network]
# Loopback (RFC 1122 and 4291), private (RFC 1918 and 4193), shared (RFC 6598, of pods in some
# clouds) and link-local (RFC 3927 and 4291) addresses.
_PRIVATE: Final = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *("169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"),
)
_LARGEST: Final = 2**31 - 1
_TRUE: Final = (*environ.Env.BOOLEAN_TRUE_STRINGS, "t")
_FALSE: Final = ("false", "off", "n", "no", "0", "f")

# Stricter than limits.parse, which takes 0, and the first of several.
_is_http_url: Final = re.compile(r"https?://[^\s/?#]+\S*").fullmatch
_is_rate: Final = re.compile(
    r"[1-9][0-9]{0,8} *(/|per ) *([1-9][0-9]{0,3} *)?(second|minute|hour|day)s?"
).fullmatch


class Environment(environ.Env):  # type: ignore[misc]  # it is untyped
    """
    django-environ's reader, with bounded numbers and strict flags.

    An empty variable counts as unset. A value that begins with $ is literal, not as the
    name of another variable: keys and passwords may begin so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ENVIRON = {
            name: value.replace("$", r"\$") for name, value in environ.Env.ENVIRON.items()
        }
        self.escape_proxy = True

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether the variable is true. Raises ImproperlyConfigured for anything but a flag."""
        text = self.str(name, default="").strip()
        if not text:
            return default
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ImproperlyConfigured(f"{name}={text!r}: must be true or false.")
        return text.lower() in _TRUE

    def choice(self, name: str, *, default: str, choices: Sequence[str]) -> str:
        """Return one of the choices. Raises ImproperlyConfigured for anything else."""
        text: str = self.str(name, default="").strip() or default
        if text not in choices:
            raise ImproperlyConfigured(f"{name}={text!r}: must be {' or '.join(choices)}.")
        return text

    def whole(self, name: str, *, default: int, minimum: int = 0, maximum: int = _LARGEST) -> int:
        """Return a whole number within these bounds. Raises ImproperlyConfigured."""
        number: int = self._bounded(name, int, default, minimum, maximum)
        return number

    def number(
        self, name: str, *, default: float, minimum: float = 0, maximum: float = _LARGEST
    ) -> float:
        """Return a number within these bounds. Raises ImproperlyConfigured."""
        number: float = self._bounded(name, float, default, minimum, maximum)
        return number

    def http_url(self, name: str) -> str:
        """Return a URL, empty where there is none. Raises ImproperlyConfigured for what is no http:// URL."""
        text: str = self.str(name, default="").strip()
        if text and not _is_http_url(text):
            raise ImproperlyConfigured(f"{name}: must be an http:// or https:// URL.")
        return text

    def rate(self, name: str) -> RateLimitItem | None:
        """Return a rate such as 100/second, None where it is empty. Raises ImproperlyConfigured."""
        text = self.str(name, default="").strip()
        if not text:
            return None
        if not _is_rate(text):
            raise ImproperlyConfigured(
                f"{name}={text!r}: must be a number of requests per time, such as 100/second, "
                "6000/minute or 50/10 seconds."
            )
        from limits import parse  # noqa: PLC0415  # takes 70 ms, which a site without limits is spared

        return parse(text)

    def networks(self, name: str, *, default: str) -> Networks:
        """
        Return the networks of a list that commas divide: addresses, CIDR notation, private or none.

        Raises ImproperlyConfigured for anything else.
        """
        networks: Networks = []
        for text in (self.str(name, default="").strip() or default).split(","):
            entry = text.strip()
            try:
                networks += map(ip_network, {"private": _PRIVATE, "none": ()}.get(entry, (entry,)))
            except ValueError as exc:
                raise ImproperlyConfigured(
                    f"{name}: {entry!r} is no network such as 10.0.0.0/8, nor private, nor none."
                ) from exc
        return networks

    def _bounded(self, name: str, kind: Any, default: Any, minimum: Any, maximum: Any) -> Any:
        text = self.str(name, default="")
        noun = "whole number" if kind is int else "number"
        try:
            return bounded(
                name, text, kind, noun, default=default, minimum=minimum, maximum=maximum
            )
        except StackError as exc:
            raise ImproperlyConfigured(f"{exc}.") from exc
