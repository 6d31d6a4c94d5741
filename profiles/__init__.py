"""Profiles: documents in MongoDB."""
