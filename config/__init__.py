"""Wiring of the site: settings, routes, errors, health, and the local servers."""
