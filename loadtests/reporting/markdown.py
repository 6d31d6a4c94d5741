"""Results as Markdown: a page for each experiment, and one of all verdicts."""

from collections.abc import Sequence

from loadtests.results import Result


def page(result: Result) -> str:
    """Return the page of one experiment."""
    return f"# {result.experiment.title}\n"


def index(results: Sequence[Result]) -> str:
    """Return the page of all verdicts."""
    return "# Experiments\n"
