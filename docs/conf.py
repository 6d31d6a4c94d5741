"""
The site of these pages: make docs. Each link and each anchor is checked, and a warning is an error.

The pages are written for readers of the repository; what a site needs beside them is added here.
"""

import re
from pathlib import Path
from typing import Final

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

DOCS: Final = Path(__file__).parent
NAVIGATION: Final = (
    "\n```{toctree}\n:hidden:\n:glob:\n\n*\ncourse/*\nadr/*\nexperiments/*\nexplain/*\n```\n"
)

project = "Trilith"
extensions = ["myst_parser"]
nitpicky = True
myst_heading_anchors = 4  # as in a repository: operations.md#health
html_title = project
html_copy_source = False


def setup(app: Sphinx) -> None:
    app.add_lexer("mermaid", TextLexer)  # its diagrams stay text
    app.connect("source-read", _adapt)


def _adapt(_: Sphinx, name: str, source: list[str]) -> None:
    """Add the navigation, and take away the links to folders and to pages that are not on the site."""

    def link(match: re.Match[str]) -> str:
        target = (DOCS / name).parent.joinpath(match[2].partition("#")[0]).resolve()
        is_elsewhere = target.suffix == ".md" and not target.is_relative_to(DOCS)
        return match[1] if target.is_dir() or is_elsewhere else match[0]

    source[0] = re.sub(r"\[([^]\n]+)\]\(([^)\s#][^)\s]*)\)", link, source[0])
    if name == "index":
        source[0] += NAVIGATION
