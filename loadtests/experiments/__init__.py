"""The six experiments, by name, in the order of the seed module."""

from typing import Final

from loadtests.experiment import Experiment

EXPERIMENTS: Final[dict[str, Experiment]] = {}
