"""Exercise 2: a note changed by SQL behind the API's back, with the triggers off and on."""

from typing import Final

from loadtests.experiments.direct_write import charts, method
from loadtests.experiments.direct_write.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="direct_write",
    title="A write past the API",
    question="For how long does the API not notice an UPDATE made in psql?",
    lines=(1565, 1619),
    procedure=(
        "Create a note with POST and read it, which caches it.",
        "UPDATE its title by SQL, and read it repeatedly until the new title appears.",
        "Do so with the table's triggers off (ALTER TABLE notes DISABLE TRIGGER USER), at ages of "
        "the copy from 0 to 0.6 of the TTL, and with them on, round by round.",
        "Recover with POST /api/v1/admin/cache/clear, and by waiting.",
        "Try the remedies that are said to help: If-None-Match, ?cache=false, write-through.",
        "The TTL (CACHE_TTL_NOTE_SECONDS) is seconds instead of the service's 300 s; windows "
        "scale with it.",
    ),
    control="the triggers of the table notes are off: an UPDATE by SQL tells the cache nothing",
    treatment="the triggers are on, as migrations leave them: they put the tags into the outbox, "
    "and the relay is woken",
    method=method.run,
    expectations=EXPECTATIONS,
    present=charts.present,
    lessons=(
        "Invalidation is hard because every writer must know of the cache; one in psql, in "
        "a migration or in another service does not.",
        "Only the database sees every write: a trigger that notifies the cache closes the gap.",
        "Without one, the TTL is the only bound; early refresh makes that four fifths of the TTL for "
        "notes that are read often, and all of it for the others.",
        "A shorter TTL buys consistency with queries: at 3 s instead of 300 s a hot note is loaded "
        "a hundred times as often.",
        "An ETag saves bytes. It proves nothing about freshness if it comes from the cache itself.",
        "Provide a way to force it: ?cache=false for one note, clearing for all of them.",
        "Write-through, write-behind and invalidation by the service all see only the service's own "
        "writes.",
    ),
    guesses=(
        Guess(
            question="With a TTL of 300 s and no triggers, for how long does an UPDATE made right after "
            "the note was cached stay unseen, if the note is read all the time?",
            unit="s",
            quantity="window_without_triggers_at_ttl_300_s",
        ),
        Guess(
            question="And with the triggers?",
            unit="ms",
            quantity="window_with_triggers_p50_ms",
        ),
    ),
)
