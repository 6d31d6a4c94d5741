"""{% load charts %}: charts in templates, so that an app can draw plain values without importing config."""

from collections.abc import Sequence

from django import template
from django.utils.safestring import SafeString, mark_safe

from config.charts import Axis, Chart, Line, LineChart, Point, drawing

register = template.Library()


@register.simple_tag
def chart_style() -> SafeString:
    """Return the CSS that charts in a page need."""
    return mark_safe(drawing.STYLE)  # noqa: S308  # a constant


@register.filter
def svg(chart: Chart) -> SafeString:
    """Return the chart as an element of the page."""
    return mark_safe(drawing.svg(chart))  # noqa: S308  # svg() escapes all text


@register.simple_tag
def line_chart(title: str, label: str, names: Sequence[str], values: Sequence[float]) -> SafeString:
    """Draw one line through values of consecutive days, named below the axis; label says what they count."""
    points = tuple(Point(x=number, y=value) for number, value in enumerate(values))
    line = Line(name=label, points=points)
    x = Axis(label="day (UTC)", names=tuple(names))
    return svg(LineChart(title=title, x=x, y=Axis(label=label), lines=(line,)))
