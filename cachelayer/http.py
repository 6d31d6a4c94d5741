"""HTTP caching: ETag, preconditions, Cache-Status, and requests that bypass the cache."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from django.http import HttpResponse

from cachelayer.conf import config
from cachelayer.entries import Bypass, Cached, Source

CACHE_CONTROL: Final = "private, no-cache"  # of whatever is read through the cache
_CACHE_STATUS = {
    Source.HIT: "hit; ttl={ttl}",
    Source.FIRST_LEVEL: "hit; ttl={ttl}; detail=L1",
    Source.STALE: "hit; ttl={ttl}; detail=stale",
    Source.LOADED: "fwd=uri-miss; stored",
    Source.COLLAPSED: "fwd=uri-miss; collapsed; stored",
    Source.FENCED: "fwd=uri-miss",
    Source.BYPASSED: "fwd=bypass",
    Source.CACHE_DOWN: "fwd=miss; detail=cache-down",
    Source.UNTRUSTED: "fwd=miss; detail=untrusted",
    Source.UNVERIFIED: "hit; ttl={ttl}; detail=unverified",
}


class Representation(msgspec.Struct, frozen=True):
    """
    A resource's JSON ready to send, and its strong ETag, quotes included.

    A page of a list is stored as a head: its JSON object up to the links, which depend on
    the host of the request; its closing brace is left out. next_query and previous_query are the
    query strings of the links, None where there is no such page.
    """

    etag: str
    body: bytes
    next_query: str | None = None
    previous_query: str | None = None

    def split(self) -> tuple[list[str | None], bytes]:
        """Return what is to be known without the body, and the body."""
        return [self.etag, self.next_query, self.previous_query], self.body

    @classmethod
    def join(cls, head: list[str | None], body: bytes) -> "Representation":
        """Return what split has parted. Raises TypeError where head is none of ours."""
        etag, next_query, previous_query = head
        if etag is None:
            raise TypeError("an entry without an ETag")
        return cls(etag, body, next_query, previous_query)


def represent(
    body: bytes, *, next_query: str | None = None, previous_query: str | None = None
) -> Representation:
    """Return the body with the ETag that depends on nothing but the body."""
    return Representation(etag_of(body), body, next_query, previous_query)


def with_links(page: Representation, links: Mapping[str, str | None]) -> Representation:
    """
    Return a page's JSON: its stored head, completed by its absolute links.

    Of a page whose body was not read, the ETag alone.
    """
    tail = b"," + msgspec.json.encode(links)[1:]
    return Representation(etag_of(page.etag.encode(), tail), page.body + tail if page.body else b"")


def etag_of(*parts: bytes) -> str:
    """Return a strong ETag, quotes included, of the parts one after the other."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return f'"{digest.hexdigest()}"'


class PreconditionFailed(Exception):
    """The resource is not as If-Match or If-None-Match of the request requires."""

    def __init__(
        self,
        reason: str = "If-Match does not name the current state; read it again, then repeat the request.",
    ) -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """
    The values of If-Match and If-None-Match (RFC 9110, 13.1), None where a field is missing.

    An etag below is the current representation's, strong and with its quotes; "" where that has
    none, None where there is no current representation.
    """

    if_match: str | None = None
    if_none_match: str | None = None

    def require_match(self, etag: str | None) -> None:
        """Raise PreconditionFailed unless If-Match holds: strong comparison, RFC 9110, 13.1.1."""
        if self.if_match is None:
            return
        tags = _entity_tags(self.if_match)
        if tags is None:
            raise PreconditionFailed("If-Match is neither * nor a list of entity tags.")
        if etag is None or (tags != _ANY and etag not in tags):
            raise PreconditionFailed

    def require(self, etag: str | None) -> None:
        """
        Raise PreconditionFailed unless a write may happen: RFC 9110, 13.2.2, steps 1 and 3.

        A field that is malformed says nothing, so that it does not hold.
        """
        self.require_match(etag)
        if self.if_none_match is None:
            return
        if _entity_tags(self.if_none_match) is None:
            raise PreconditionFailed("If-None-Match is neither * nor a list of entity tags.")
        if etag is not None and not_modified(self.if_none_match, etag):
            raise PreconditionFailed("If-None-Match names the current state.")

    @property
    def name_a_version(self) -> bool:
        """Return whether a write is for one state of the resource alone."""
        return self.if_match is not None and _entity_tags(self.if_match) != _ANY


UNCONDITIONAL = Preconditions()


def preconditions_of(fields: Mapping[str, str]) -> Preconditions:
    """Return the preconditions of a request, by its META, which costs less than its headers."""
    return Preconditions(fields.get("HTTP_IF_MATCH"), fields.get("HTTP_IF_NONE_MATCH"))


def not_modified(if_none_match: str, etag: str) -> bool:
    """
    Return whether If-None-Match names the ETag: weak comparison, RFC 9110, 13.1.2.

    A malformed field names none, so that a read is answered in full.
    """
    tags = _entity_tags(if_none_match)
    return tags == _ANY or etag in (tag.removeprefix("W/") for tag in tags or ())


_ANY: Final = ["*"]
# One element of a list, which may be empty (RFC 9110, 5.6.1.2), and the comma or the end after it.
_ELEMENT: Final = re.compile(r'((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")?[ \t]*(?:,[ \t]*|\Z)')


def _entity_tags(field: str) -> list[str] | None:
    """Return the entity tags of a field (RFC 9110, 8.8.3), _ANY for *, None where it is malformed."""
    text = field.strip(" \t")
    if text == "*":
        return _ANY
    tags, position = [], 0
    while position < len(text):
        element = _ELEMENT.match(text, position)
        if element is None:
            return None
        if element[1]:
            tags.append(element[1])
        position = element.end()
    return tags


def bypass_of(cache_control: str, *, cache_parameter: str | None) -> Bypass:
    """
    Return how a request bypasses the cache, by Cache-Control or by ?cache=false.

    no-store keeps the answer out of the cache; no-cache and cache=false refresh the copy.
    """
    directives = {word.strip().lower() for word in cache_control.split(",")}
    if "no-store" in directives:
        return Bypass.NO_STORE
    if "no-cache" in directives or cache_parameter == "false":
        return Bypass.REFRESH
    return Bypass.NO


def cache_status(cached: Cached) -> str:
    """Return the Cache-Status field (RFC 9211) of an answer."""
    return f"{config().NAME}; {_CACHE_STATUS[cached.source].format(ttl=cached.remaining_seconds)}"


def answer(representation: Representation, *, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    """Return the stored bytes; PreconditionsMiddleware makes a 304 of them where it may."""
    return HttpResponse(
        representation.body,
        content_type="application/json",
        status=status,
        headers={"ETag": representation.etag, "Cache-Control": CACHE_CONTROL},
    )
