"""
Query plans of PostgreSQL and MongoDB in one shape: for assertions, measurements and reports.

plan, postgres_plans, mongo_plans and assertions depend on Django and pymongo only, so another
project can copy them unchanged (docs/testing.md). The other modules depend on the apps.
"""
