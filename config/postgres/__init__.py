"""Django's PostgreSQL backend, with a deadline for every wait and a breaker in front of the pool."""
