"""What should happen to a deep page without and with its indexes, fixed before any run."""

from typing import Final

from loadtests.lab.experiment import Expectation, Outcome

SECONDS_MS: Final = 1000.0  # "seconds, not milliseconds" begins here
MORE_CPU: Final = 1.2  # times as much CPU time is "high"
MUCH_FASTER: Final = 10.0  # times
GROWS: Final = 50.0  # times as many rows for the deep page as for the first
FEW: Final = 2  # times as many rows scanned as returned is "only what it returns"
FEWER: Final = 5.0  # times fewer rows scanned, by an index that fits

EXPECTATIONS: Final = (
    Expectation(
        key="sequential-scan",
        text="Without the indexes the deep page is read by a scan of the whole table.",
        line=1697,
        threshold="every plan is a Seq Scan that touches every note; else refuted",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="high-cpu",
        text="Without the indexes the database's CPU use is high.",
        line=1698,
        threshold=f"PostgreSQL's CPU time for a request, against the same with the indexes: interval "
        f"above {MORE_CPU:g} confirms, below it refutes",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="seconds",
        text="Without the indexes the API takes seconds, not milliseconds.",
        line=1699,
        threshold=f"median latency of the page over HTTP, uncached: {SECONDS_MS:g} ms or more "
        "confirms, less refutes",
        declared=Outcome.REFUTED,
        because="100 000 short rows lie in memory and are scanned in tens of milliseconds. The time "
        "grows with the table, and reaches a second at some millions of notes.",
    ),
    Expectation(
        key="rows-scanned",
        text="With the indexes PostgreSQL scans little more than the rows that it returns.",
        line=1705,
        threshold=f"rows scanned for the deep page: up to {FEW} times the rows returned confirms",
        declared=Outcome.REFUTED,
        because="OFFSET has to find the rows that it skips, whatever index there is; only the "
        "cursor scans what it returns.",
    ),
    Expectation(
        key="index-usage",
        text="The statistics of index usage name the index that EXPLAIN names.",
        line=1706,
        threshold="idx_scan of each index goes up by 1 for each run of a plan that names it, and "
        "else not at all",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="index-scan",
        text="With the indexes applied again EXPLAIN shows an Index Scan.",
        line=1715,
        threshold="every plan of the deep page has an Index Scan confirms; another scan refutes",
        declared=Outcome.REFUTED,
        because="The page lies behind 7 of 10 of the user's notes. To read all of them in the order "
        "of the table (Bitmap Heap Scan, idx_notes_user_id) and sort looks cheaper than to follow "
        "the composite index; that changes where the page is a smaller part of the list.",
    ),
    Expectation(
        key="much-faster",
        text="With the indexes applied again the deep page is much faster.",
        line=1715,
        threshold=f"EXPLAIN's time without against with: interval above {MUCH_FASTER:g} confirms, "
        "below it refutes",
        declared=Outcome.REFUTED,
        because="It still reads every note of its user, a seventh of the table, and sorts them.",
    ),
    Expectation(
        key="essential",
        text="Indexes are essential: the first page is much faster with them.",
        line=1720,
        threshold=f"EXPLAIN's time of page 1 without against with: interval above {MUCH_FASTER:g} "
        "confirms, below it refutes",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="deep-is-expensive",
        text="A high OFFSET is expensive, with the indexes too.",
        line=1722,
        threshold=f"the deep page scans at least {GROWS:g} times the rows of page 1",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="composite",
        text="One composite index serves a filter and an order better than an index for each.",
        line=1723,
        threshold=f"a user's first page scans at least {FEWER:g} times fewer rows by the composite",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="selectivity",
        text="Selectivity matters: an index is of use for a condition that few rows fulfil.",
        line=1724,
        threshold="an index is used for the rarest versions, and not for all of them",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="cursor",
        text="A cursor costs the same at every depth.",
        line=1725,
        threshold=f"at no depth more than {FEW} times the rows returned are scanned",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="btree-or-hash",
        text="A hash index finds equal values, and serves neither ranges nor order; a B-tree does both.",
        line=1729,
        threshold="both are used for =, only the B-tree for > with ORDER BY, on both columns",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="partial",
        text="A partial index serves its filtered query, and is as much smaller as the filter is strict.",
        line=1730,
        threshold="it is used, scans up to twice what it returns, and takes at most twice the "
        "filter's share of the whole index",
        declared=Outcome.CONFIRMED,
    ),
    Expectation(
        key="size-against-benefit",
        text="How much an index saves does not go with its size.",
        line=1731,
        threshold="the largest of the seed's four is not the one that saves its query most: confirmed",
        declared=Outcome.CONFIRMED,
    ),
)
