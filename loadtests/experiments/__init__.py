"""The experiments, by name, in the order of the seed module; each module here that holds one."""

import importlib
import pkgutil
from typing import Final

from loadtests.lab.experiment import Experiment


def _found() -> dict[str, Experiment]:
    modules = [
        importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)
    ]
    found: list[Experiment] = [module.EXPERIMENT for module in modules]
    return {one.name: one for one in sorted(found, key=lambda one: one.lines)}


EXPERIMENTS: Final[dict[str, Experiment]] = _found()
