"""Backups of PostgreSQL and MongoDB in one folder, and their restoration: docs/backup.md."""

from collections.abc import Callable

# Told what is being done, how much of it is, and of how much: rows, documents or bytes; 0: not known.
Tell = Callable[[str, int, int], None]


class BackupRefused(Exception):
    """What keeps a backup from being made or restored: nothing was changed. One line, with the remedy."""
