"""A note's Markdown as HTML that may be put into a page, whoever wrote it."""

from collections.abc import Sequence
from typing import Any, Final

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from notes.headings import within_calls_max

# What the parser below makes of Markdown, and nothing else. No image: a page loads nothing from
# outside, and an image would tell its server who reads.
_TAGS: Final = {
    *("a", "blockquote", "br", "code", "del", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol"),
    *("p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}}
_URL_SCHEMES: Final = {"http", "https", "mailto"}
_HEADING_LEVEL_MAX: Final = 6


def _image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    env: EnvType,
) -> str:
    """Render an image as a link to it."""
    token = tokens[index]
    address = escapeHtml(str(token.attrs["src"]))
    text = renderer.renderInlineAsText(token.children or [], options, env) or address
    return f'<a href="{address}">Image: {escapeHtml(text)}</a>'


_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_parser.add_render_rule("image", _image)


def rendered(markdown: str) -> SafeString | None:
    """
    Return the HTML; None where making it would take more than a bounded amount of work.

    Its highest heading is an h2: the title of the note is the page's h1. HTML in the Markdown is
    shown as text. The parser lets no markup through, and nh3 removes what it lets through.
    """
    html: list[str] = []

    def render() -> None:
        env: dict[str, Any] = {}
        tokens = _parser.parse(markdown, env)
        headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
        levels = [int(token.tag[1:]) for token in headings]
        for token, level in zip(headings, levels, strict=True):
            token.tag = f"h{min(level - min(levels) + 2, _HEADING_LEVEL_MAX)}"
        html.append(_parser.renderer.render(tokens, _parser.options, env))

    if not within_calls_max(render):
        return None
    clean = nh3.clean(
        html[0],
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_URL_SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)  # noqa: S308  # nh3 has left only the tags and attributes above
