"""The profiles part of the HTTP API."""
