"""The bounds of numbers that commands take as options."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError


def check_bounds(options: Mapping[str, Any], bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise CommandError for an option that is outside of (least, most), as NaN is of all; None is not."""
    for name, (least, most) in bounds.items():
        number = options[name]
        if number is not None and not least <= number <= most:
            option = name.replace("_", "-")
            raise CommandError(f"--{option} {number}: must be from {least} to {most}.")
