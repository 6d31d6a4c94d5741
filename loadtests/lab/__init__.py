"""The lab: what an experiment is, how it runs, and what is reported of it."""
