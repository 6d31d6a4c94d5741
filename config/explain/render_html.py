"""A report as a single self-contained HTML file."""

import math
from typing import Any, Final

from django.template.loader import render_to_string

from config.explain.plan import Node, Plan
from config.explain.render_markdown import (
    INDEX_COLUMNS,
    head,
    index_row,
    query_row,
    without_text,
)
from config.explain.report import QuerySection, Report
from config.explain.timing import kib, ms, times

# A node is slow if it takes this share of its plan, and long enough to matter.
_SLOW_SHARE: Final = 0.3
_SLOW_MS: Final = 1.0
_LONGEST: Final = 400  # characters of a condition


def render(report: Report) -> str:
    """Return the page."""
    slowest = max(
        (measurement.timing.median_ms for part in report.queries for measurement in _runs(part)),
        default=1.0,
    )
    return render_to_string(
        "explain/report.html",
        {
            "report": report,
            "head": [sentence.replace("`", "") for sentence in head(report)],
            "queries": [_query(part, slowest) for part in report.queries],
            "index_columns": INDEX_COLUMNS,
            "indexes": [index_row(part) for part in report.indexes],
            "total_size": kib(sum(part.index.size_bytes for part in report.indexes)),
        },
    )


def _runs(part: QuerySection) -> list[Any]:
    return [
        measurement for measurement in (part.now, part.without_indexes) if measurement is not None
    ]


def _query(part: QuerySection, slowest: float) -> dict[str, Any]:
    without = part.without_indexes
    return {
        "part": part,
        "timing": part.now.timing.text,
        "indexes": query_row(part)[5],
        "without": without_text(part),
        "factor": "" if part.factor is None else times(part.factor),
        "now_width": _width(part.now.timing.median_ms, slowest),
        "without_width": 0 if without is None else _width(without.timing.median_ms, slowest),
        "plan": _tree(part.now.plan),
        "plan_without": None if without is None else _tree(without.plan),
    }


def _width(value_ms: float, most_ms: float) -> int:
    """Return the length of a bar in percent, on a logarithmic scale from 0.01 ms on."""
    least = 0.01
    span = math.log10(max(most_ms, 10 * least) / least)
    return max(1, round(100 * math.log10(max(value_ms, least) / least) / span))


def _tree(plan: Plan) -> dict[str, Any]:
    return _node(plan.root, max(plan.root.total_ms, 0.001))


def _node(node: Node, whole_ms: float) -> dict[str, Any]:
    share = min(1.0, node.own_ms / whole_ms)
    misestimate = node.misestimate
    return {
        "node": node,
        "took": ms(node.own_ms),
        "percent": round(100 * share),
        "is_slow": share >= _SLOW_SHARE and node.own_ms >= _SLOW_MS,
        "misestimate": "" if misestimate is None else times(misestimate),
        "condition": node.condition[:_LONGEST] + ("…" if len(node.condition) > _LONGEST else ""),
        "children": [_node(child, whole_ms) for child in node.children],
    }
