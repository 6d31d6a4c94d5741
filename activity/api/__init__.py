"""The activity part of the HTTP API."""
