"""The notes part of the HTTP API."""
