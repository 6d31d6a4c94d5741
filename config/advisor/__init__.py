"""
Index advice for the recorded workload; every index is built and measured before it is proposed.

workload and mongodb_profiler read what ran, query_analysis finds the access patterns, the two
candidates modules list the possible indexes, postgres and mongodb try them, and migration writes
the Django migration.
"""
