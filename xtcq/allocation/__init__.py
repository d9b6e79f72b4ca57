"""Who else allocates bits: rivals of AdaQAT that choose a width for every layer's weights and inputs."""

from xtcq.allocation.baselines import random, uniform
from xtcq.allocation.fractional import FractionalWidths
from xtcq.allocation.program import LayerCosts, cheapest
from xtcq.allocation.rounding import round_to_budget
from xtcq.allocation.sensitivity import METRICS, sensitivities
from xtcq.allocation.space import SearchSpace

__all__ = [
    "METRICS",
    "FractionalWidths",
    "LayerCosts",
    "SearchSpace",
    "cheapest",
    "random",
    "round_to_budget",
    "sensitivities",
    "uniform",
]
