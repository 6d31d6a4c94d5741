"""Language tags (BCP 47): well-formedness by RFC 5646, section 2.2.9."""

import re
from typing import Final

# Section 2.1, the production langtag, in lower case.
_LANGUAGE_TO_REGION: Final = (
    "([a-z]{2,3}(-[a-z]{3}){0,3}|[a-z]{4,8})(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?"
)
_VARIANTS: Final = "(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
_EXTENSIONS: Final = "(-[0-9a-wy-z](-[a-z0-9]{2,8})+)*"
_PRIVATE_USE: Final = "x(-[a-z0-9]{1,8})+"
_TAG: Final = re.compile(
    f"{_LANGUAGE_TO_REGION}(?P<variants>{_VARIANTS})(?P<extensions>{_EXTENSIONS})(-{_PRIVATE_USE})?"
    f"|{_PRIVATE_USE}",
    re.ASCII,
)
# The productions irregular and regular: registered before 2005, and valid for ever.
_GRANDFATHERED: Final = frozenset(
    (
        *("en-gb-oed", "i-ami", "i-bnn", "i-default", "i-enochian", "i-hak", "i-klingon", "i-lux"),
        *("i-mingo", "i-navajo", "i-pwn", "i-tao", "i-tay", "i-tsu"),
        *("sgn-be-fr", "sgn-be-nl", "sgn-ch-de"),
        *("art-lojban", "cel-gaulish", "no-bok", "no-nyn", "zh-guoyu", "zh-hakka", "zh-min"),
        *("zh-min-nan", "zh-xiang"),
    )
)


def _in_any_case(pattern: str) -> str:
    """Return a lower-case expression as one that matches any case without a flag."""
    ranges = {"a-z": "a-zA-Z", "a-w": "a-wA-W", "y-z": "y-zY-Z"}
    return re.sub(
        "|".join(ranges) + "|[a-z]",
        lambda match: ranges.get(match[0], f"[{match[0]}{match[0].upper()}]"),
        pattern,
    )


# For the OpenAPI schema; it does not express that no subtag may be repeated.
LANGUAGE_PATTERN: Final = _in_any_case(
    f"^({_LANGUAGE_TO_REGION}{_VARIANTS}{_EXTENSIONS}(-{_PRIVATE_USE})?"
    f"|{_PRIVATE_USE}|{'|'.join(sorted(_GRANDFATHERED))})$"
)


def is_language_tag(text: str) -> bool:
    """
    Return whether text is a well-formed language tag, compared without case.

    No variant and no singleton of an extension may be repeated (2.2.5 and 2.2.6). Whether
    its subtags are registered is not looked up.
    """
    if not text.isascii():
        return False
    tag = text.lower()
    if tag in _GRANDFATHERED:
        return True
    match = _TAG.fullmatch(tag)
    if match is None:
        return False
    variants = (match["variants"] or "").split("-")[1:]
    singletons = [subtag for subtag in (match["extensions"] or "").split("-") if len(subtag) == 1]
    return _are_distinct(variants) and _are_distinct(singletons)


def _are_distinct(subtags: list[str]) -> bool:
    return len(set(subtags)) == len(subtags)
