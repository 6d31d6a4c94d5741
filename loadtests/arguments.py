"""Parsers of values on the command line."""

import argparse


def positive(text: str) -> float:
    """Parse an option that is more than 0 and at most 600."""
    number = float(text)
    if not 0 < number <= 600:
        raise argparse.ArgumentTypeError("more than 0, at most 600")
    return number
