"""The first heading of a Markdown document, as CommonMark reads it, in bounded work."""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.utils import EnvType

# A document usually takes 1 to 3 calls a character; markdown-it-py's work can be quadratic, or worse.
_CALLS_MAX: Final = 2_000_000  # about 1 s
_BREAKS: Final = ("softbreak", "hardbreak")
_TEXTS: Final = ("text", "text_special", "code_inline")


class _TooMuchWork(Exception):
    pass


class _Parser(MarkdownIt):
    """CommonMark that neither validates nor rewrites URLs."""

    def validateLink(self, url: str) -> bool:  # noqa: N802, markdown-it's name
        return True

    def normalizeLink(self, url: str) -> str:  # noqa: N802, markdown-it's name
        return url


_parser = _Parser("commonmark")


def first_heading(markdown: str) -> str | None:
    """
    Return the text of the first heading that has any: without markup, images by their description.

    None if there is none, or none that is found within a bounded number of calls.
    """
    source = markdown.replace("\r\n", "\n").replace("\r", "\n")
    env: EnvType = {}
    tokens: list[Token] = []
    texts: list[str] = []

    def parse_blocks() -> None:
        _parser.block.parse(source, _parser, env, tokens)

    def parse_headings() -> None:
        for opening, content in pairwise(tokens):
            if opening.type == "heading_open" and not texts:
                spans = _parser.inline.parse(content.content, _parser, env, [])
                texts.extend(text for text in ["".join(_texts(spans))] if text.strip())

    within_calls_max(parse_blocks)
    within_calls_max(parse_headings)
    return texts[0] if texts else None


def _texts(spans: Sequence[Token]) -> Iterator[str]:
    for span in spans:
        if span.type in _TEXTS:
            yield span.content
        elif span.type in _BREAKS:
            yield " "
        elif span.type == "image":
            yield from _texts(span.children or ())


def within_calls_max(work: Callable[[], None]) -> bool:
    """
    Do the work, but stop after a bounded number of calls; return whether it was done.

    Calls, not seconds, so that a file has the same title on every machine.
    """
    calls = 0

    def count(frame: FrameType, event: str, callee: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > _CALLS_MAX:
            raise _TooMuchWork

    profiler = sys.getprofile()
    sys.setprofile(count)
    try:
        try:
            work()
        finally:
            sys.setprofile(profiler)
    except _TooMuchWork:
        return False
    return True
