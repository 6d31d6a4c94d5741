"""Charts as self-contained SVG without scripts, in light and dark colour schemes."""

from typing import Final

from config.charts import Chart, LineChart, bar_chart, line_chart
from config.charts.elements import STYLE, element, titled

_NAMESPACE: Final = "http://www.w3.org/2000/svg"  # implied inside HTML
__all__ = ["STYLE", "svg"]


def svg(chart: Chart, *, standalone: bool = False) -> str:
    """
    Return the chart as an element for a page that contains STYLE.

    standalone: return a complete file with the style inside. All text is escaped.
    """
    if isinstance(chart, LineChart):
        height, parts = line_chart.parts(chart)
        width = line_chart.WIDTH
    else:
        height, parts = bar_chart.parts(chart)
        width = bar_chart.WIDTH
    style = element("style", STYLE) if standalone else ""
    namespace = {"xmlns": _NAMESPACE} if standalone else {}
    return element(
        "svg",
        titled(chart.title) + style + "".join(parts),
        **namespace,
        viewBox=f"0 0 {width} {height:g}",
        role="img",
        class_="chart",
        aria_label=chart.title,
    )
