"""The reader's predictions, entered before anything runs."""

import math
import sys
from collections.abc import Sequence

from loadtests.lab.experiment import Experiment
from loadtests.lab.results import GuessResult

Predictions = dict[tuple[str, str], float]  # by experiment and quantity


class NoNumber(Exception):
    """A piped line is not a number."""


def ask(experiments: Sequence[Experiment]) -> Predictions:
    """
    Ask for each number and return those entered; an empty line means no prediction.

    Raises NoNumber if a piped line is not a number; on a terminal it asks again.
    """
    predictions: Predictions = {}
    for experiment in experiments:
        for guess in experiment.guesses:
            try:
                number = _number(f"{experiment.name}: {guess.question} [{guess.unit}] ")
            except EOFError:
                return predictions
            if number is not None:
                predictions[experiment.name, guess.quantity] = number
    return predictions


def compared(
    experiment: Experiment, predictions: Predictions, quantities: dict[str, float]
) -> tuple[GuessResult, ...]:
    """Return the predictions of an experiment beside what was observed."""
    return tuple(
        GuessResult(
            guess=guess,
            predicted=predictions[experiment.name, guess.quantity],
            observed=quantities.get(guess.quantity),
        )
        for guess in experiment.guesses
        if (experiment.name, guess.quantity) in predictions
    )


def _number(question: str) -> float | None:
    while True:
        line = input(question).strip()
        if not line:
            return None
        try:
            number = float(line)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        if not sys.stdin.isatty():
            raise NoNumber(f"{line!r} is not a number; enter one such as 12.5, or an empty line")
        print("Please enter a number such as 12.5, or nothing for no prediction.")
