"""A page of a list as it is cached: its bytes, and what its links are made of."""

import msgspec


class StoredPage(msgspec.Struct, array_like=True, frozen=True):
    """
    One page, ready to send but for its absolute links, which depend on the host asked.

    head is the JSON object up to the links, its closing brace left out; next_query and
    previous_query are query strings, or None where there is no such page.
    """

    head: bytes
    next_query: str | None
    previous_query: str | None
