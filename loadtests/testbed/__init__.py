"""Servers and a site to measure, their environment, and a check that everything is restored."""
