"""The same documents in MongoDB and in PostgreSQL: which store is better at what."""

from typing import Final

from loadtests.experiments.document_or_relational import charts, method
from loadtests.experiments.document_or_relational.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
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
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
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
