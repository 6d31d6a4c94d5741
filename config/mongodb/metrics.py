"""Metrics of MongoDB in this process; PROMETHEUS_MULTIPROC_DIR adds up those of all processes."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from config.store_metrics import BUCKETS

COMMAND_SECONDS: Final = Histogram(
    "mongodb_command_seconds", "Duration of a command", ["command"], buckets=BUCKETS
)
ACQUIRE_SECONDS: Final = Histogram(
    "mongodb_acquire_seconds", "Time until the pool lent a connection, or did not", buckets=BUCKETS
)
BREAKER_OPEN: Final = Gauge(
    "mongodb_breaker_open",
    "1 where any process sends nothing to MongoDB",
    multiprocess_mode="livemax",
)
ERRORS: Final = Counter("mongodb_errors", "Commands that failed, by kind", ["kind"])
CONNECTIONS: Final = Gauge(
    "mongodb_pool_connections", "Connections open", multiprocess_mode="livesum"
)
IN_USE: Final = Gauge("mongodb_pool_in_use", "Connections in use", multiprocess_mode="livesum")
WAITING: Final = Gauge(
    "mongodb_pool_waiting", "Threads that wait for a connection", multiprocess_mode="livesum"
)
