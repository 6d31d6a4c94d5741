"""Failures on purpose: what clients see, and what is lost."""
