"""Back up PostgreSQL and MongoDB into one folder, and restore them: docs/backup.md."""

from collections.abc import Callable

# Called with the current step, how much of it is done, and the total (0: unknown), in rows or documents.
OnProgress = Callable[[str, int, int], None]


class BackupRefused(Exception):
    """A backup cannot be made or restored, and nothing was changed. One line, with the remedy."""
