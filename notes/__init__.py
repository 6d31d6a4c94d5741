"""Notes: stored in PostgreSQL, read through the cache."""
