"""Reads and writes over several workers under random faults, each read held against the acknowledged writes."""
