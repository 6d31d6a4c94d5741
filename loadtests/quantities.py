"""Figures by name, with their units in the names: shown to people, and written for programs."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from rich.table import Table


def as_table(quantities: Mapping[str, float], *, title: str, digits: int) -> Table:
    """Return the figures with so many digits, one in each row."""
    table = Table("figure", "value", title=title, title_justify="left")
    for name, value in quantities.items():
        table.add_row(name, f"{value:.{digits}g}")
    return table


def as_json(quantities: Mapping[str, float], *, command: str, **facts: str) -> str:
    """Return the figures with the command that measures them, today's date (UTC), and more facts."""
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    document = {"command": command, "date": date, **facts, "quantities": quantities}
    return json.dumps(document, indent=1)
