"""Namespaces, keys and tags of cached values, and their names in Redis."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from cachelayer.conf import config

V = TypeVar("V")

# For so long a stamp outlives the begin that made it, which must be longer than a load, and each
# entry that carries it. One that runs out too early costs a miss and nothing else.
STAMP_MARGIN_SECONDS = 60
_NAMESPACE_TAG = "namespace:"
PURGE = "entry:"  # the start of a purge, so no tag may start so (cachelayer.E010)

# Gets keys, each with the origin that its entry carries ("" where it has none or is not cached);
# returns their values in the same order, None for those that do not exist.
Loader = Callable[[Sequence[tuple["Key[Any]", str]]], Sequence[Any]]

_declared: dict[str, "Namespace[Any]"] = {}
_loaders: dict[str, Loader] = {}


class NoSuchKey(ValueError):
    """No declared namespace has keys of this form."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Namespace(Generic[V]):
    """
    Cached values of one kind: same type, same lifetimes, cleared together.

    A logical name is prefix and member; member is a regular expression of what may follow the
    prefix, example a name that fits, tags_of the tags of a member. value_type is what is stored
    and read back: a frozen msgspec Struct, so that no caller can change what another
    caller gets; one with split and join (cachelayer.http.Representation) keeps its body as it is.
    schema rises by 1 whenever that type changes shape, and entries of another schema are misses.
    ttl_seconds is the freshness of a value, absent_ttl_seconds that of "there is no such thing".
    serves_invalidated allows a replaced value to be served while its store is down; warms loads
    its most read keys at start, for which their names must suffice. pattern, holds and
    invalidated_by are for people; personal_data marks what data protection law covers.
    """

    name: str
    pattern: str
    prefix: str
    member: str
    example: str
    tags_of: Callable[[str], tuple[str, ...]]
    schema: int
    value_type: type[V]
    ttl_seconds: int
    absent_ttl_seconds: int
    holds: str
    invalidated_by: str
    personal_data: bool = False
    serves_invalidated: bool = False
    warms: bool = False
    decoder: msgspec.msgpack.Decoder[V] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", msgspec.msgpack.Decoder(self.value_type))
        _declared.setdefault(self.name, self)

    @property
    def tag(self) -> str:
        """The tag that every key of the namespace carries, so that clearing it is one delete."""
        return f"{_NAMESPACE_TAG}{self.name}"

    def key(self, member: str, *, origin: Callable[[], str] | None = None) -> "Key[V]":
        """
        Return the key of a member.

        origin gives, where the member alone does not, the text from which the value can be
        loaded again; it is kept in the entry, and called only when one is stored.
        """
        return Key(self, f"{self.prefix}{member}", (self.tag, *self.tags_of(member)), origin)

    def has(self, name: str) -> bool:
        """Return whether a logical name is one of this namespace's."""
        return name.startswith(self.prefix) and bool(
            re.fullmatch(self.member, name.removeprefix(self.prefix))
        )


class Key(Generic[V]):
    """A logical name such as books:{isbn}, the tags that invalidate it, and the names in Redis."""

    __slots__ = ("entry_name", "lease_name", "name", "namespace", "origin", "stamp_names", "tags")

    def __init__(
        self,
        namespace: Namespace[V],
        name: str,
        tags: tuple[str, ...],
        origin: Callable[[], str] | None,
    ) -> None:
        root = root_of_names()
        self.namespace = namespace
        self.name = name
        self.tags = tags
        self.origin = origin
        self.entry_name = f"{root}{name}"
        self.lease_name = f"{root}lease:{name}"
        stamps = stamp_name("")
        self.stamp_names = tuple([stamps + tag for tag in tags])

    @property
    def member(self) -> str:
        """The part of the name that follows the namespace's prefix."""
        return self.name.removeprefix(self.namespace.prefix)

    @property
    def purge(self) -> str:
        """
        The tag that deletes the value itself from Redis, passed to invalidate with a write's tags.

        For data that must not stay there until it expires, though nobody is served it. Pass the
        tags as well: a load under way is compared with their stamps.
        """
        return f"{PURGE}{self.name}"

    def __repr__(self) -> str:
        return f"<Key {self.name} tags={self.tags}>"


def declared() -> tuple[Namespace[Any], ...]:
    """Return every namespace of this process, in the order of declaration."""
    return tuple(_declared.values())


def named(name: str) -> Namespace[Any]:
    """Return a namespace by its name. Raises NoSuchKey, which names those that are there."""
    try:
        return _declared[name]
    except KeyError:
        known = ", ".join(_declared)
        raise NoSuchKey(f"there is no namespace {name}; there are {known}") from None


def register_loader(namespace: Namespace[Any], loader: Loader) -> None:
    """Register, once at start, what loads values without a request: for warming and auditing."""
    _loaders[namespace.name] = loader


def loader_of(namespace: Namespace[Any]) -> Loader | None:
    """Return the loader registered for the namespace, None if there is none."""
    return _loaders.get(namespace.name)


def key_named(name: str) -> Key[Any]:
    """Return the key with a logical name such as books:{isbn}. Raises NoSuchKey."""
    is_text = not re.search("[\ud800-\udfff]", name)  # else of an argument that is no UTF-8
    for namespace in _declared.values():
        if is_text and namespace.has(name):
            return namespace.key(name.removeprefix(namespace.prefix))
    patterns = ", ".join(namespace.pattern for namespace in _declared.values())
    raise NoSuchKey(f"{name} is no key of this cache; keys look like {patterns}")


def stamp_name(tag: str) -> str:
    """
    Return the name in Redis of a tag's stamp: without VERSION, unlike that of an entry.

    While a new version of the code is rolled out, each reads its own entries, and a write by
    either must invalidate both.
    """
    return f"{config().PREFIX}:stamp:{tag}"


def unlinked_name(tag: str) -> str:
    """Return the name in Redis of what is deleted to invalidate a tag, or to purge a key."""
    if tag.startswith(PURGE):
        return f"{root_of_names()}{tag.removeprefix(PURGE)}"
    return stamp_name(tag)


def register_name() -> str:
    """Return the name in Redis of the register of hosts, whichever version they run."""
    return f"{config().PREFIX}:hosts"


def record_name(kind: str, subject: str) -> str:
    """Return the name in Redis of a record about a key or a tag, for explain."""
    return f"{root_of_names()}{kind}:{subject}"


def root_of_names() -> str:
    """Return the prefix of the names in Redis that another VERSION leaves behind: all but stamps and hosts."""
    settings = config()
    return f"{settings.PREFIX}:v{settings.VERSION}:"
