"""Exercise 5: the same documents in MongoDB and in PostgreSQL, and what each store is better at."""

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
        "Read the same generated profile over HTTP from /profiles/mongo/abc and /profiles/postgres/abc, "
        "at least 1 000 times each, 10 at a time, in turns.",
        "At the databases, read, insert, replace, and change deep inside the same documents of 1 to 300 KB, "
        "in turns; insert and change them both without and with the wait for the disk.",
        "Find documents by a nested key, without and with each kind of index.",
        "Add a field to all: by a default alone, written into each document, and as a column.",
        "Join profiles with their notes: by SQL, and by $lookup over a copy of the notes.",
        "Offer both stores a note without a profile, and a document of another shape.",
        "Drop the scratch table and collections.",
    ),
    control="PostgreSQL: a table with one jsonb column",
    treatment="MongoDB: a collection of the same documents, with the same durability",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "No store is best at everything; find out what is done most, and measure that.",
        "Choose documents if they are large, change in places, and are read as a whole; choose tables if "
        "data of several kinds is joined, counted and constrained.",
        "A write to both stores is not a transaction. Announce it in the store that has transactions, do "
        "it in the other, and deliver the announcement even after a crash (docs/consistency.md).",
        "A schema evolves in both: read old shapes with a default, and rewrite them later. A column is "
        "the cheapest default of all.",
        "Two stores need two backups, two upgrades, two sets of limits and alarms.",
    ),
    guesses=(
        Guess(
            question="From which size of document on is MongoDB's nested update faster?",
            unit="KB",
            quantity="nested_update_crossover_kb",
        ),
        Guess(
            question="How many times as long as MongoDB does PostgreSQL take for a nested update of 1 KB?",
            unit="times",
            quantity="nested_update_1kb_ratio",
        ),
    ),
)
