"""
A cache in Redis that never serves what a completed write has replaced.

It knows no application: key families are declared in keys.py, everything else is general.
"""
