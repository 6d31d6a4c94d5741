"""All results as one self-contained HTML file, with its style and charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from config.charts import Chart
from config.charts.drawing import STYLE, svg
from loadtests.lab.experiment import Outcome
from loadtests.lab.reporting import wording
from loadtests.lab.results import Result

_PAGES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(results: Sequence[Result]) -> str:
    """Return the page: the verdicts of all experiments, then each of them."""
    refuted = [(result, result.with_outcome(Outcome.REFUTED)) for result in results]
    return _PAGES.get_template("report.html").render(
        results=results,
        refuted=[(result, rows) for result, rows in refuted if rows],
        outcomes=[
            (outcome, sum(len(result.with_outcome(outcome)) for result in results))
            for outcome in Outcome
        ],
        row_count=sum(len(result.rows) for result in results),
        unexpected=[(result, row) for result in results for row in result.unexpected],
        is_quick=any(result.quick for result in results),
        wording=wording,
        draw=_draw,
        chart_style=Markup(STYLE),  # noqa: S704  # a constant of ours
    )


def _draw(chart: Chart) -> Markup:
    return Markup(svg(chart))  # noqa: S704  # escaped where it is made
