"""Metrics of MongoDB in this process; PROMETHEUS_MULTIPROC_DIR adds up those of all processes."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS: Final = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0),
)
COMMAND_SECONDS: Final = Histogram(
    "mongodb_command_seconds", "Duration of a command", ["command"], buckets=_BUCKETS
)
ACQUIRE_SECONDS: Final = Histogram(
    "mongodb_acquire_seconds", "Time until the pool lent a connection, or did not", buckets=_BUCKETS
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
