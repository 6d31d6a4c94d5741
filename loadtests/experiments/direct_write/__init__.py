"""Exercise 2: a note changed by SQL behind the API's back, with the triggers off and on."""

from typing import Final

from loadtests.experiments.direct_write import charts, method
from loadtests.experiments.direct_write.expectations import EXPECTATIONS
from loadtests.lab.experiment import Experiment, Guess

EXPERIMENT: Final = Experiment(
    name="direct_write",
    title="A write past the API",
    question="For how long does the API not know of an UPDATE made in psql?",
    lines=(1565, 1619),
    procedure=(
        "Create a note by POST and read it, so that it is cached.",
        "UPDATE its title by SQL, and read it again and again until the new title is there.",
        "Do so with the table's triggers off (ALTER TABLE notes DISABLE TRIGGER USER), at ages of "
        "the copy from 0 to 0.6 of the TTL, and with them on, round by round.",
        "Recover by POST /api/v1/admin/cache/clear, and by waiting.",
        "Try what is said to help: If-None-Match, ?cache=false, write-through.",
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
        "Invalidation is hard because a writer must know of the cache; whoever writes in psql, in "
        "a migration or from another service does not.",
        "What knows of every write is the database: a trigger that tells the cache closes the gap.",
        "Without it the TTL is the only bound, and a refresh ahead of time makes it four fifths of "
        "the TTL for what is read often, the whole of it for what is not.",
        "A shorter TTL buys consistency with queries: at 3 s instead of 300 s a hot note is loaded "
        "a hundred times as often.",
        "An ETag saves bytes. It is no proof of freshness where it comes from the cache itself.",
        "Have a way to force it: ?cache=false for one reader's note, clearing for everybody's.",
        "Write-through, write-behind and invalidation by the service all see the service's writes "
        "only.",
    ),
    guesses=(
        Guess(
            question="With a TTL of 300 s and no triggers: how long is an UPDATE made right after "
            "the note was cached not seen, if the note is read all the time?",
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
