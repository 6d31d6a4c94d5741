"""What the seed expects of a write past the API, and what the project declares of it."""

from typing import Final

from loadtests.lab.experiment import Expectation, Outcome

_OFF = "with the triggers off, "

EXPECTATIONS: Final = (
    Expectation(
        key="stale-served",
        text="After an UPDATE by SQL the API returns the cached version.",
        line=1588,
        threshold=f"{_OFF}the first read after every commit is a hit with the old title",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="database-new",
        text="The database has the updated version.",
        line=1589,
        threshold="after every commit a SELECT returns the new title",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="inconsistent",
        text="Cache and database disagree.",
        line=1590,
        threshold=f"{_OFF}the API returns the old title before and after a SELECT that returns "
        "the new one, for every write",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="stale-for-long",
        text="Stale data is served from the cache, again and again.",
        line=1594,
        threshold=f"{_OFF}a median of at least 5 stale reads for each write, at 20 reads a second",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="ttl-ends-it",
        text="The data is fresh once the TTL is over.",
        line=1595,
        threshold=f"{_OFF}a copy that nobody reads is still served at 0.85 of its lifetime, and "
        "no longer at 1.1",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="window-predicted",
        text="The inconsistency window of a note that is read all the time is 0.8 of its copy's "
        "lifetime (0.9 to 1.0 of the TTL) less the copy's age.",
        line=1596,
        threshold=f"{_OFF}the median of measured less predicted is at most 0.3 s, either way",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="clear-recovers",
        text="Clearing the cache by POST /api/v1/admin/cache/clear mends it.",
        line=1602,
        threshold=f"{_OFF}the read before every clearing is stale, the first after it is not",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="waiting-recovers",
        text="Waiting for the TTL (5 minutes in the service, seconds here) mends it.",
        line=1604,
        threshold=f"{_OFF}every window is over at most 1 s after the TTL, counted from when the copy was stored",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="etag-helps",
        text="Cache validation with an ETag notices the write.",
        line=1617,
        threshold=f"{_OFF}the first If-None-Match after every write is answered 200 with the new "
        "title: confirmed; 304 to all: refuted",
        declared=Outcome.REFUTED,
        because="The ETag is compared with the cached copy's, and the copy does not know of the "
        "write either: 304 says that the client is as stale as the cache.",
    ),
    Expectation(
        key="parameter-helps",
        text="?cache=false returns the new version.",
        line=1618,
        threshold=f"{_OFF}every such read has the new title, and the plain read after it is a hit "
        "with the new title",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="write-through-helps",
        text="Write-through instead of invalidation keeps cache and database consistent.",
        line=1619,
        threshold=f"{_OFF}after a write through the API whose new copy is stored at once, the first "
        "read after an UPDATE by SQL is new: confirmed; stale each time: refuted",
        declared=Outcome.REFUTED,
        because="Write-through stores what passes through the service. An UPDATE by SQL does not "
        "pass it, so the copy is as old as without. TTL, clearing, or a trigger in the "
        "database ends it.",
    ),
    Expectation(
        key="own-writes",
        text="A write through the API leaves no stale read, triggers or not.",
        line=None,
        threshold=f"{_OFF}the first read after every PATCH was answered has the new title",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="triggers-help",
        text="With the triggers, as the service has them, the window is milliseconds, not the TTL.",
        line=None,
        threshold="median of at most 250 ms: confirmed; of more than 1 s: refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="etag-with-triggers",
        text="With the triggers a client's If-None-Match notices the write.",
        line=None,
        threshold="a 200 with the new title within 2 s of every write",
        declared=Outcome.CONFIRMED,
    ),
)
