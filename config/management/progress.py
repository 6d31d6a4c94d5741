"""What a command shows while it takes long."""

from django.core.management.base import OutputWrapper


def show_progress(stream: OutputWrapper, step: str) -> None:
    """Write the step where somebody may be watching: to a terminal."""
    if stream.isatty():
        stream.write(step)
