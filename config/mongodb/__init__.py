"""The connection to MongoDB, its metrics and its circuit breaker."""
