"""An experiment that measures nothing, with one of everything that a report shows."""

import datetime as dt

from config.charts import Axis, Bar, BarChart, Line, LineChart, Point, Span
from loadtests.lab.experiment import (
    Expectations,
    Experiment,
    Findings,
    Guess,
    Outcome,
    Series,
    Table,
    Verdict,
)
from loadtests.lab.lab import SteadyState
from loadtests.lab.predictions import compared
from loadtests.lab.results import Result, result_of
from loadtests.testbed.environment import describe_environment

WELL = SteadyState(when="before (both)", healthy=True, requests=90, failures=0, p50_ms=1.25)

EXPECTATIONS = Expectations[float]()  # the observations: milliseconds of a deep page


@EXPECTATIONS.declare(
    "A cached read takes less time than one from the store <at all>.",
    line=1541,
    threshold="the ratio's interval lies above 1: confirmed; below: refuted",
)
def quicker(slow_ms: float) -> Verdict:
    return Verdict(True, "10.2 (9.1 to 11.3), n=40", ["cached read"])


@EXPECTATIONS.declare(
    "A deep page takes seconds.",
    line=1700,
    threshold="median of 1000 ms or more: confirmed",
    declared=Outcome.REFUTED,
    because="At 100 000 rows a page takes milliseconds; it becomes true from 40 million on.",
)
def seconds(slow_ms: float) -> Verdict:
    return Verdict(slow_ms >= 1000, f"{slow_ms} ms, n=2", ["deep page"])


@EXPECTATIONS.declare(
    "No read is stale.",
    threshold="0 of at least 100",
    declared_quick=Outcome.INCONCLUSIVE,
)
def own(slow_ms: float) -> Verdict:
    return Verdict(True, "0 of 120", ["cached read"])


LINES = LineChart(
    title="A page behind 10 000 notes takes 3.2 ms & not seconds",
    x=Axis(label="notes skipped"),
    y=Axis(label="latency (ms)", log=True),
    lines=(
        Line(
            name="measured",
            points=tuple(
                Point(x=x, y=y, low=y * 0.8, high=y * 1.3)
                for x, y in ((0, 0.4), (2000, 0.9), (5000, 1.8), (10000, 3.2))
            ),
        ),
        Line(
            name="predicted <linear>",
            points=(Point(x=0, y=0.4), Point(x=10000, y=4.0)),
            predicted=True,
        ),
    ),
    spans=(Span(name="outage", start=4000, end=6000),),
)
BARS = BarChart(
    title="A cached read takes a tenth of the time",
    axis=Axis(label="median latency (ms)"),
    bars=(
        Bar(name="cached", value=1.2, low=1.1, high=1.5),
        Bar(name="from the store", value=12.0, low=9.0, high=14.0, label="12 ms (n=40)"),
    ),
)


def present(slow_ms: float) -> Findings:
    return Findings(
        series=[
            Series(name="cached read", arm="treatment", unit="ms", values=(1.0, 1.2, 1.4)),
            Series(name="deep page", arm="control", unit="ms", values=(slow_ms, slow_ms + 0.2)),
        ],
        charts=[LINES, BARS],
        tables=[
            Table(title="Plans", columns=("page", "plan"), rows=(("1", "Index | Scan"),), note="!")
        ],
        remarks=["The breaker opened once."],
        quantities={"deep_page_ms": slow_ms},
    )


def findings(*, slow_ms: float = 3.2) -> Findings:
    return EXPERIMENT.findings(slow_ms)


EXPERIMENT = Experiment(
    name="made_up",
    title="A made-up experiment",
    question="Does the report show all of it?",
    lines=(1516, 1561),
    procedure=("Do nothing.", "Look at nothing."),
    control="no cache",
    treatment="the cache",
    method=lambda lab: 3.2,
    expectations=EXPECTATIONS,
    present=present,
    lessons=("What is not measured is not known.",),
    guesses=(
        Guess(question="How long does a deep page take?", unit="ms", quantity="deep_page_ms"),
    ),
)


def result(*, slow_ms: float = 3.2) -> Result:
    shown = findings(slow_ms=slow_ms)
    return result_of(
        EXPERIMENT,
        shown,
        quick=False,
        seed=7,
        command="python -m loadtests run made_up --seed 7",
        started_at=dt.datetime(2026, 11, 24, 20, 0, tzinfo=dt.UTC),
        ended_at=dt.datetime(2026, 11, 24, 20, 1, 30, tzinfo=dt.UTC),
        environment=describe_environment({"postgres": "PostgreSQL 18.0"}),
        steady=(WELL,),
        guess_results=compared(EXPERIMENT, {("made_up", "deep_page_ms"): 1600.0}, shown.quantities),
    )
