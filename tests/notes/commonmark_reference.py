"""
Titles as another CommonMark parser sees them: pulldown-cmark, which shares no code with ours.

`python -m tests.notes.commonmark_reference spec.txt` compares both over every example of the
specification, whose text is under another licence than this project, so it is not in it; get
spec.txt from https://github.com/commonmark/commonmark-spec.
"""

import re
import sys
from pathlib import Path

import pyromark

from notes.headings import first_heading

_EXAMPLE = re.compile(r"^`{32} example\n(.*?)^\.\n.*?^`{32}$", re.DOTALL | re.MULTILINE)


def reference_title(markdown: str) -> str | None:
    """Return the text of the first heading that has any, white space collapsed."""
    text: str | None = None
    for event in pyromark.events(markdown):
        kind, value = next(iter(event.items())) if isinstance(event, dict) else (event, None)
        if isinstance(value, dict) and "Heading" in value:
            if kind == "End" and text and text.strip():
                return collapsed(text)
            text = "" if kind == "Start" else None
        elif text is not None:
            text += value if kind in ("Text", "Code") else " " if value is None else ""
    return None


def collapsed(text: str | None) -> str | None:
    return " ".join(text.split()) if text else None


def examples(specification: str) -> list[str]:
    """Return the Markdown of each example of the specification's spec.txt."""
    return [markdown.replace("→", "\t") for markdown in _EXAMPLE.findall(specification)]


def main() -> None:
    cases = examples(Path(sys.argv[1]).read_text(encoding="utf-8"))
    titles = [(case, collapsed(first_heading(case)), reference_title(case)) for case in cases]
    differing = [title for title in titles if title[1] != title[2]]
    for case, ours, reference in differing:
        print(f"{case!r}: {ours!r}, by pulldown-cmark {reference!r}")
    headed = sum(reference is not None for _, _, reference in titles)
    print(f"{len(cases) - len(differing)} of {len(cases)} agree, {headed} of them have a heading.")


if __name__ == "__main__":
    main()
