"""SVG elements as escaped text, and their shared style in light and dark colour schemes."""

from typing import Final
from xml.sax.saxutils import escape, quoteattr

# Blue, vermilion, green, purple, ochre, grey: distinguishable with red-green colour blindness
# (after Okabe and Ito), each with a contrast of at least 3:1 to the page.
COLOURS: Final = 6
MARKERS: Final = ("circle", "square", "triangle", "diamond", "cross", "plus")
STYLE: Final = """
.chart { --chart-ink: #24292f; --chart-muted: #57606a; --chart-grid: #d8dee4; --chart-span: #f1e3c4;
  --chart-1: #0072b2; --chart-2: #c2500a; --chart-3: #00795a; --chart-4: #a0457a; --chart-5: #8a6100;
  --chart-6: #57606a; font: 12px system-ui, sans-serif; width: 100%; height: auto; display: block; }
@media (prefers-color-scheme: dark) { .chart { --chart-ink: #e6edf3; --chart-muted: #9ea7b1;
  --chart-grid: #353c44; --chart-span: #4a3f25; --chart-1: #5bb8f0; --chart-2: #ff9b5e;
  --chart-3: #42d3a5; --chart-4: #eba3cb; --chart-5: #e6c35c; --chart-6: #b6bec7; } }
.chart text { fill: var(--chart-muted); } .chart .name, .chart .value { fill: var(--chart-ink); }
.chart .grid { stroke: var(--chart-grid); } .chart .axis { stroke: var(--chart-muted); }
.chart .span { fill: var(--chart-span); opacity: .65; }
.chart .series { stroke: currentColor; fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .predicted { stroke-dasharray: 7 4; } .chart .interval { stroke: currentColor; stroke-width: 1.3; fill: none; }
.chart .marker { fill: currentColor; stroke: currentColor; stroke-width: 1.6; }
.chart .hollow { fill: none; } .chart .bar { fill: currentColor; opacity: .8; }
.chart .whisker { stroke: var(--chart-ink); stroke-width: 1.4; fill: none; }
""" + "\n".join(
    f".chart .colour-{number} {{ color: var(--chart-{number}); }}" for number in range(1, 7)
)


def element(name: str, content: str = "", **attributes: object) -> str:
    """
    Return an element; content is markup that is already escaped.

    In names a trailing underscore is removed (class_), others become hyphens.
    """
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(str(value))}"
        for key, value in attributes.items()
    )
    return f"<{name}{pairs}>{content}</{name}>" if content else f"<{name}{pairs}/>"


def text(content: str, x: float, y: float, *, anchor: str = "start", kind: str = "label") -> str:
    """Return a line of text."""
    return element("text", escape(content), x=x, y=y, text_anchor=anchor, class_=kind)


def titled(content: str) -> str:
    """Return a title: the tooltip in a browser, and what a screen reader says."""
    return element("title", escape(content))


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def interval(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return an error bar with caps, vertical or horizontal."""
    cap = 4
    if x1 == x2:
        caps = f"M{x1 - cap} {y1}h{2 * cap}M{x1 - cap} {y2}h{2 * cap}"
    else:
        caps = f"M{x1} {y1 - cap}v{2 * cap}M{x2} {y2 - cap}v{2 * cap}"
    return element("path", d=f"M{x1} {y1}L{x2} {y2}{caps}", class_=kind)


def marker(number: int, x: float, y: float, title: str = "", *, hollow: bool = False) -> str:
    """Return the marker of the line with this number, from 1."""
    shape = MARKERS[(number - 1) % len(MARKERS)]
    paths = {
        "circle": f"M{x - 3.5} {y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
        "square": f"M{x - 3.5} {y - 3.5}h7v7h-7z",
        "triangle": f"M{x} {y - 4.5}l4.5 8h-9z",
        "diamond": f"M{x} {y - 5}l5 5l-5 5l-5 -5z",
        "cross": f"M{x - 4} {y - 4}l8 8M{x - 4} {y + 4}l8 -8",
        "plus": f"M{x - 5} {y}h10M{x} {y - 5}v10",
    }
    kind = "marker hollow" if hollow else "marker"
    return element("path", titled(title) if title else "", d=paths[shape], class_=kind)


def colour(number: int) -> str:
    """Return the CSS class for the colour of the line with this number, from 1."""
    return f"colour-{(number - 1) % COLOURS + 1}"
