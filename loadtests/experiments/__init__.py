"""The experiments, by name, in the order of the seed module."""

from typing import Final

from loadtests.experiments import (
    cache_outage,
    direct_write,
    document_or_relational,
    pool_exhaustion,
    query_plans,
    stampede,
)
from loadtests.lab.experiment import Experiment

_MODULES: Final = (
    *(cache_outage, direct_write, document_or_relational),
    *(pool_exhaustion, query_plans, stampede),
)
EXPERIMENTS: Final[dict[str, Experiment]] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in sorted(_MODULES, key=lambda module: module.EXPERIMENT.lines)
}
