"""The settings of the cache: CACHELAYER in Django's settings, checked, and completed by defaults."""

import functools
import threading
from pathlib import Path
from typing import Annotated, Any

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

# msgspec 0.22 completes what it knows of a type at its first use: whoever comes meanwhile dies of a null pointer.
_first_use = threading.Lock()

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Whole = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What CACHELAYER may say; a key that it leaves out has its default.

    NAME: the cache in Cache-Status (RFC 9211), and this project in PostgreSQL's list of sessions.
    PREFIX: first part of every key in Redis, which no other project may have there.
    VERSION: raise it to leave every stored entry behind.
    GRACE_SECONDS: how long a copy past its lifetime is kept for an outage of its store.
    LEASE_MS: how long others wait for the one who loads a value.
    LOADS_MAX: concurrent loads of each process while Redis does not answer.
    LOADS_WAIT_MS: how long a further load waits before it raises Overloaded.
    FIRST_LEVEL_BYTES: bound of the copies in each process; 0: none.
    SLOTS_DIR: folder of the file by which the processes of a host invalidate each other's copies;
    on a local disk, relative to BASE_DIR where there is one, writable for the project's processes, and nobody else's.
    """

    NAME: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z*][\w!#$%&'*+.^`|~:/-]*$")] = "cachelayer"
    PREFIX: _Name = "cachelayer"
    VERSION: _Whole = 1
    GRACE_SECONDS: _Whole = 3600
    LEASE_MS: _Positive = 3000
    LOADS_MAX: _Positive = 4
    LOADS_WAIT_MS: _Whole = 500
    FIRST_LEVEL_BYTES: _Whole = 67_108_864
    SLOTS_DIR: Path = Path(".slots")


@functools.cache
def config() -> Configuration:
    """Return the settings in force. Raises ImproperlyConfigured, which names the key that is wrong."""
    try:
        with _first_use:
            configured = msgspec.convert(
                getattr(settings, "CACHELAYER", {}),
                Configuration,
                dec_hook=lambda _, value: Path(value),
            )
    except msgspec.ValidationError as exc:
        known = ", ".join(Configuration.__struct_fields__)
        raise ImproperlyConfigured(f"CACHELAYER: {exc}. Its keys are {known}.") from exc
    folder = Path(getattr(settings, "BASE_DIR", "")).absolute() / configured.SLOTS_DIR
    return msgspec.structs.replace(configured, SLOTS_DIR=folder)


def _forget(*, setting: str, **_: Any) -> None:
    """Read the settings anew, after a test has overridden them."""
    if setting == "CACHELAYER":
        config.cache_clear()


setting_changed.connect(_forget)
