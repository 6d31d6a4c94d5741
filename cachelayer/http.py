"""What HTTP says about copies: ETag, If-None-Match, If-Match, Cache-Status, and asking past the cache."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from django.http import HttpResponse
from django.utils.http import parse_etags

from cachelayer.answers import Bypass, Cached, Source

_TOLD = {
    Source.HIT: "hit; ttl={ttl}",
    Source.STALE: "hit; ttl={ttl}; detail=stale",
    Source.LOADED: "fwd=uri-miss; stored",
    Source.COLLAPSED: "fwd=uri-miss; collapsed; stored",
    Source.FENCED: "fwd=uri-miss",
    Source.BYPASSED: "fwd=bypass",
    Source.CACHE_DOWN: "fwd=miss; detail=cache-down",
}


class Representation(msgspec.Struct, frozen=True):
    """
    A resource's JSON ready to send, and its strong ETag, quotes included.

    A page of a list is stored as a head: its JSON object up to the links, which depend on the
    host asked, its closing brace left out. next_query and previous_query are the links' query
    strings, None where there is no such page.
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


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client's If-None-Match names this ETag (weak comparison, RFC 9110 13.1.2)."""
    if not if_none_match:
        return False
    candidates = parse_etags(if_none_match)
    return "*" in candidates or etag in (tag.removeprefix("W/") for tag in candidates)


def if_match_allows(if_match: str | None, etag: str) -> bool:
    """Return whether If-Match, where given, names this ETag (strong comparison, RFC 9110 13.1.1)."""
    if if_match is None:
        return True
    candidates = parse_etags(if_match)
    return "*" in candidates or etag in candidates


def bypass_of(headers: Mapping[str, str], *, cache_parameter: str | None) -> Bypass:
    """
    Return what Cache-Control of the request, or ?cache=false, asks for.

    no-store keeps the answer out of the cache; no-cache and cache=false refresh the copy.
    """
    wanted = {word.strip().lower() for word in headers.get("Cache-Control", "").split(",")}
    if "no-store" in wanted:
        return Bypass.NO_STORE
    if "no-cache" in wanted or cache_parameter == "false":
        return Bypass.REFRESH
    return Bypass.NO


def cache_status(cached: Cached) -> str:
    """Return the Cache-Status field (RFC 9211) of an answer."""
    told = _TOLD[cached.source].format(ttl=cached.remaining_seconds)
    return f"trilith; {told}"


def answer(
    representation: Representation, *, if_none_match: str | None, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    """Return 304 where the client's copy is the same, else the stored bytes."""
    if not_modified(if_none_match, representation.etag):
        response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
        del response.headers["Content-Type"]
    else:
        response = HttpResponse(representation.body, content_type="application/json", status=status)
    response.headers["ETag"] = representation.etag
    response.headers["Cache-Control"] = "private, no-cache"
    return response
