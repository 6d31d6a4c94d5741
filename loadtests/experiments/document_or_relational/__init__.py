"""The same documents in MongoDB and in PostgreSQL: which store is better at what."""

from contextlib import closing

from loadtests.experiments.document_or_relational.expectations import EXPECTATIONS
from loadtests.experiments.document_or_relational.in_mongodb import InMongoDB
from loadtests.experiments.document_or_relational.in_postgres import InPostgres
from loadtests.experiments.document_or_relational.judging import Measured, series, verdicts
from loadtests.experiments.document_or_relational.measuring import FULL, QUICK, Both, over_http
from loadtests.experiments.document_or_relational.showing import (
    charts,
    quantities,
    remarks,
    tables,
)
from loadtests.lab.experiment import Experiment, Findings, Guess
from loadtests.lab.lab import Lab
from loadtests.testbed.site import Site

NOTES_QUICK, NOTES_FULL = 4_000, 20_000


def run(lab: Lab) -> Findings:
    """Measure both stores in turns; leave nothing of it behind. Raises StackError."""
    with lab.site("both", notes=NOTES_QUICK if lab.quick else NOTES_FULL) as site:
        urls = site.stack.operator_urls()
        with (
            closing(InMongoDB(urls["MONGODB_URI"])) as mongo,
            closing(InPostgres(urls["DATABASE_URL"])) as postgres,
        ):
            both = Both(mongo, postgres, QUICK if lab.quick else FULL, lab.seed)
            try:
                measured = _measure(lab, site, both)
            finally:
                mongo.drop()
                postgres.drop()
    return found(measured)


def found(measured: Measured) -> Findings:
    """Return rows, series, charts, tables, remarks and quantities of what was measured."""
    told = verdicts(measured)
    return Findings(
        rows=[
            EXPERIMENT.judge(one.key, told[one.key][0], told[one.key][1], evidence=told[one.key][2])
            for one in EXPECTATIONS
        ],
        series=series(measured),
        charts=charts(measured),
        tables=tables(measured),
        remarks=remarks(measured),
        quantities=quantities(measured),
    )


def _measure(lab: Lab, site: Site, both: Both) -> Measured:
    durability = (both.mongo.durability(), both.postgres.durability())
    for name, value in (setting for one in durability for setting in one.settings):
        lab.tell(f"{name}: {value}")
    lab.tell("reading a profile over HTTP, 10 at a time, from either store")
    http = over_http(site, requests=both.effort.http_requests)
    by_size = {}
    for size in both.effort.sizes:
        lab.tell(f"reading, inserting, updating and replacing documents of {size / 1000:g} KB")
        by_size[size] = both.at_size(size)
    syncs = both.syncs_for_a_write()
    lab.tell(f"{both.effort.documents} documents: a filter, a new field, joins")
    sizes_on_disk = both.fill()
    without, with_index, filtered = both.filter()
    return Measured(
        durability=durability,
        syncs=syncs,
        http=http,
        by_size=by_size,
        sizes_on_disk=sizes_on_disk,
        filters=(without, with_index),
        filtered=filtered,
        added=both.add_field(),
        joins=both.join(),
        another_shape=both.take_another_shape(),
        dangling=both.take_dangling_note(),
    )


EXPERIMENT = Experiment(
    name="document_or_relational",
    title="MongoDB or PostgreSQL for the same documents",
    question="Which store is better at reading, writing, changing and joining documents?",
    lines=(1735, 1785),
    procedure=(
        "The same made-up profile is read over HTTP from /profiles/mongo/abc and /profiles/postgres/abc, "
        "1 000 times each at the least, 10 at a time, in turns.",
        "At the databases the same documents of 1 to 300 KB are read, inserted, replaced, and changed deep "
        "inside, in turns; inserted and changed once without the wait for the disk, once with it.",
        "Documents are looked for by a nested key, without and with each kind of index.",
        "A field is added to all: by a default alone, written into each, and as a column.",
        "Profiles are joined with their notes: by SQL, and by $lookup over a copy of the notes.",
        "A note of a profile that is not there, and a document of another shape, are offered to both.",
        "The scratch table and collections are dropped.",
    ),
    control="PostgreSQL: a table with one jsonb column",
    treatment="MongoDB: a collection of the same documents, with the same durability",
    expectations=EXPECTATIONS,
    lessons=(
        "No store is best at everything; ask what is done most, and measure that.",
        "Choose documents where they are large, change in places, and are read whole; choose tables where "
        "data of several kinds is joined, counted and kept whole.",
        "A write to both stores is no transaction. Announce it in the one that has them, do it in the "
        "other, and make the announcement good after a crash (docs/consistency.md).",
        "A schema evolves in both: read old shapes by a default, and rewrite them at leisure. A column is "
        "the cheapest default of all.",
        "Two stores are two backups, two upgrades, two sets of limits and alarms.",
    ),
    run=run,
    guesses=(
        Guess(
            question="From how large a document on is MongoDB's nested update faster?",
            unit="KB",
            quantity="nested_update_crossover_kb",
        ),
        Guess(
            question="How many times MongoDB's time does PostgreSQL take for a nested update of 1 KB?",
            unit="times",
            quantity="nested_update_1kb_ratio",
        ),
    ),
)
