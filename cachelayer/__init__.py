"""
A cache in Redis that never serves what a completed write has replaced.

It knows no application: each one declares its own namespaces (cachelayer.namespace).
"""
