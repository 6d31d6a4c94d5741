"""What a cached value is filed under: namespaces, keys, tags, and their names in Redis."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
from django.conf import settings

V = TypeVar("V")

# Longer than any entry lives, so that a stamp does not run out under a valid entry. Running out
# would cost one miss and nothing else.
STAMP_TTL_SECONDS = 48 * 3600


@dataclass(frozen=True, kw_only=True, eq=False)
class Namespace(Generic[V]):
    """
    One family of cached values: same type, same lifetimes, cleared together.

    value_type is what msgspec stores and reads back (a frozen Struct, so that no caller can
    change what another one is given); schema rises by 1 whenever that type changes shape, and
    entries of another schema are misses. ttl_seconds is the freshness of a value,
    absent_ttl_seconds that of "there is no such thing". pattern, holds and invalidated_by are
    for people; personal_data marks what a privacy officer asks about.
    """

    name: str
    pattern: str
    schema: int
    value_type: type[V]
    ttl_seconds: int
    absent_ttl_seconds: int
    holds: str
    invalidated_by: str
    personal_data: bool = False
    encoder: msgspec.msgpack.Encoder = field(init=False, repr=False)
    decoder: msgspec.msgpack.Decoder[V | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        longest = self.ttl_seconds * 1.1 + settings.CACHE_GRACE_SECONDS
        if not (
            self.ttl_seconds > 0 and self.absent_ttl_seconds > 0 and longest < STAMP_TTL_SECONDS
        ):
            raise ValueError(
                f"namespace {self.name}: lifetimes must be positive, and with the grace time "
                f"below {STAMP_TTL_SECONDS} s"
            )
        object.__setattr__(self, "encoder", msgspec.msgpack.Encoder())
        object.__setattr__(self, "decoder", msgspec.msgpack.Decoder(self.value_type | None))

    @property
    def tag(self) -> str:
        """The tag that every key of the namespace carries, so that clearing it is one delete."""
        return f"namespace:{self.name}"

    def key(self, name: str, *, tags: Iterable[str]) -> "Key[V]":
        """Return the key with this logical name, invalidated by any of the tags."""
        return Key(self, name, (self.tag, *tags))


class Key(Generic[V]):
    """A logical name such as notes:{id}, the tags that invalidate it, and the names in Redis."""

    __slots__ = ("entry_name", "lease_name", "name", "namespace", "stamp_names", "tags")

    def __init__(self, namespace: Namespace[V], name: str, tags: tuple[str, ...]) -> None:
        root = _root()
        self.namespace = namespace
        self.name = name
        self.tags = tags
        self.entry_name = f"{root}{name}"
        self.lease_name = f"{root}lease:{name}"
        self.stamp_names = tuple(f"{root}stamp:{tag}" for tag in tags)

    def __repr__(self) -> str:
        return f"<Key {self.name} tags={self.tags}>"


def stamp_name(tag: str) -> str:
    """Return the name in Redis of a tag's stamp."""
    return f"{_root()}stamp:{tag}"


def _root() -> str:
    return f"{settings.CACHE_PREFIX}:v{settings.CACHE_VERSION}:"
