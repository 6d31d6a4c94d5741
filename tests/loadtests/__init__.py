"""Tests of the load tests, which share one site (a package fixture needs a package)."""
