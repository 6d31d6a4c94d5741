"""
Plans of PostgreSQL and MongoDB in one shape: to assert on, to measure, and to report.

nodes, postgres_plans, mongo_plans and asserting know Django and pymongo and nothing of this
project, so that another one may take them as they are (docs/testing.md). The rest knows the apps.
"""
