"""Metrics of PostgreSQL in this process; PROMETHEUS_MULTIPROC_DIR adds up those of all processes."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from config.deferred_metrics import queue_of
from config.store_metrics import BUCKETS

STATEMENT_SECONDS: Final = Histogram(
    "postgres_statement_seconds", "Duration of a statement of a request", buckets=BUCKETS
)
ACQUIRE_SECONDS: Final = Histogram(
    "postgres_acquire_seconds",
    "Time until the pool lent a connection, or did not",
    buckets=BUCKETS,
)
HOLD_SECONDS: Final = Histogram(
    "postgres_hold_seconds", "Time for which a connection was lent", buckets=BUCKETS
)
# To these each statement and each loan of a connection appends its seconds.
statement_seconds: Final = queue_of(lambda: STATEMENT_SECONDS)
acquire_seconds: Final = queue_of(lambda: ACQUIRE_SECONDS)
hold_seconds: Final = queue_of(lambda: HOLD_SECONDS)
REPLACED: Final = Counter("postgres_replaced_connections", "Idle connections that were broken")
REPEATED: Final = Counter("postgres_repeated_statements", "Reads run again on a whole connection")
REPLICA_READS: Final = Counter(
    "postgres_replica_reads",
    "Reads that the replica might answer: used, or why the primary was used",
    ["kind"],
)
BREAKER_OPEN: Final = Gauge(
    "postgres_breaker_open",
    "1 where any process sends nothing to PostgreSQL",
    multiprocess_mode="livemax",
)
READ_ONLY: Final = Gauge(
    "postgres_read_only", "1 where PostgreSQL has refused a write", multiprocess_mode="livemax"
)
ERRORS: Final = Counter("postgres_errors", "Statements and waits that failed, by kind", ["kind"])
CONNECTIONS: Final = Gauge(
    "postgres_pool_connections", "Connections open", multiprocess_mode="livesum"
)
IN_USE: Final = Gauge("postgres_pool_in_use", "Connections in use", multiprocess_mode="livesum")
WAITING: Final = Gauge(
    "postgres_pool_waiting", "Threads that wait for a connection", multiprocess_mode="livesum"
)
