"""Is a deep page slow without its indexes, fast with them, and what would be fast at any depth."""

import statistics

import psycopg

from loadtests.experiments.query_plans import arms, judging, scratch, showing, statements, sweeps
from loadtests.experiments.query_plans.expectations import EXPECTATIONS
from loadtests.experiments.query_plans.judging import Observed
from loadtests.experiments.query_plans.plans import median_ms
from loadtests.experiments.query_plans.statements import DEEP
from loadtests.experiments.query_plans.variants import usual_user, variants
from loadtests.experiments.query_plans.worth import uses, worth
from loadtests.lab.experiment import Experiment, Findings, Guess
from loadtests.lab.lab import Lab


def run(lab: Lab) -> Findings:
    """Run it on a site of the lab."""
    return findings(_observed(lab, arms.QUICK if lab.quick else arms.FULL))


def findings(seen: Observed) -> Findings:
    """Return what a run shows that has measured this."""
    return Findings(
        rows=EXPERIMENT.judged(judging.JUDGES, seen),
        series=list(showing.series(seen)),
        charts=showing.charts(seen),
        tables=showing.tables(seen),
        remarks=_remarks(seen),
        quantities=_quantities(seen),
    )


def _observed(lab: Lab, sizes: arms.Sizes) -> Observed:
    with lab.site("both", notes=sizes.notes) as site:
        url = site.stack.operator_urls()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) notes")
            page = statements.last_page(statements.count(connection))
            rounds = arms.rounds(lab, site, sizes, page)
            lab.tell("pages by depth")
            depths = sweeps.by_depth(connection, page, runs=sizes.runs)
            deepest = sweeps.deepest_by_composite(connection, page)
        lab.tell("other indexes, on a copy")
        with scratch.table(url) as connection:
            several = variants(connection, sizes.notes, runs=sizes.runs)
            user = usual_user(connection, sizes.notes)
            taken = list(worth(connection, user, runs=sizes.runs))
            used = list(uses(connection, page, runs=sizes.runs))
        lab.tell(f"the page in a copy that grows to {sizes.growth[-1]} notes")
        with scratch.table(url) as connection:
            grown = list(sweeps.by_size(connection, sizes.growth, page, runs=sizes.runs))
    return Observed(
        notes=sizes.notes,
        page=page,
        rounds=rounds,
        depths=depths,
        deepest=deepest,
        variants=several,
        worth=taken,
        uses=used,
        sizes=grown,
    )


def _remarks(seen: Observed) -> list[str]:
    least = min(seen.worth, key=lambda one: one.saved_ms_per_mib)
    return [
        f"{least.name} saves least for its size: {least.saved_ms:.3g} ms for "
        f"{least.size_bytes / 1024:.0f} KiB, since other indexes serve its query nearly as well.",
        f"The planner follows idx_notes_user_created as far as page {seen.deepest}; deeper down it "
        "reads all of the user's notes and sorts them.",
    ]


def _quantities(seen: Observed) -> dict[str, float]:
    without, with_ = (median_ms(seen.plans(arm, DEEP)) for arm in arms.ARMS)
    http = {arm: statistics.median(seen.latencies_ms(arm) or [0.0]) for arm in arms.ARMS}
    return {
        "deep_page_http_without_indexes_ms": http["without"],
        "deep_page_http_with_indexes_ms": http["with"],
        "deep_page_query_with_indexes_ms": with_,
        "first_page_query_with_indexes_ms": median_ms(seen.plans("with", statements.FIRST)),
        "query_improvement_with_indexes_percent": (1 - with_ / without) * 100,
        "first_page_improvement_with_indexes_times": seen.ratio(statements.FIRST).value,
        "deep_page_improvement_with_indexes_times": seen.ratio(DEEP).value,
        "notes_at_one_second_without_index": seen.rows_at_one_second(),
    }


EXPERIMENT = Experiment(
    name="query_plans",
    title="Query plans: a deep page without and with its indexes",
    question="What do the indexes change for page 500 of a user's notes, and what does it depend on?",
    lines=(1672, 1731),
    procedure=(
        "Make up 100 000 notes, a seventh of them of one user (20 000 with --quick).",
        "Drop the four indexes, as migrating back would; ask for page 500 (or the last one) over "
        "HTTP, uncached, at fixed times, and read EXPLAIN (ANALYZE, BUFFERS) of its statement.",
        "Make the indexes again and ask the same. Repeat both in turn, so that noise hits both.",
        "With the indexes, ask for pages ever deeper, by OFFSET and by cursor.",
        "On a copy, let the table grow, and try other indexes: composite, hash, partial, selective.",
    ),
    control="the four indexes of the notes are dropped",
    treatment="they are there",
    expectations=EXPECTATIONS,
    lessons=(
        "Indexes are essential for what they fit: they make a first page some hundred times faster.",
        "EXPLAIN shows what a clock does not: how many rows were scanned for those returned.",
        "OFFSET has to find all that it skips; a cursor costs the same at every depth.",
        "A composite index serves a filter and an order in one; its first column alone as well.",
        "An index is of use where few rows are asked for, and the planner knows when it is not.",
        "Every index costs memory and writes, so one that another covers is one too many.",
    ),
    run=run,
    guesses=(
        Guess(
            question="How long does page 500 take over HTTP without an index?",
            unit="ms",
            quantity="deep_page_http_without_indexes_ms",
        ),
        Guess(
            question="How many times faster are the indexes for the statement of page 500?",
            unit="times",
            quantity="deep_page_improvement_with_indexes_times",
        ),
        Guess(
            question="How many notes must there be for it to take a second without an index?",
            unit="notes",
            quantity="notes_at_one_second_without_index",
        ),
    ),
)
