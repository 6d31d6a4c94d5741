"""The experiments, by name, in the order of the seed module; each module here that holds one."""

import importlib
import pkgutil
from typing import Final

from loadtests.lab.experiment import Experiment


def _found() -> dict[str, Experiment]:
    modules = [
        importlib.import_module(f"{__name__}.{iter_module.name}")
        for iter_module in pkgutil.iter_modules(__path__)
    ]
    experiments: list[Experiment] = [module.EXPERIMENT for module in modules]
    return {
        experiment.name: experiment
        for experiment in sorted(experiments, key=lambda experiment: experiment.lines)
    }


EXPERIMENTS: Final[dict[str, Experiment]] = _found()
