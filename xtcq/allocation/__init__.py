"""Who else allocates bits: rivals of AdaQAT that choose a width for every layer's weights and inputs."""

from xtcq.allocation.baselines import random, uniform
from xtcq.allocation.choose import choose_widths
from xtcq.allocation.fractional import FracBits
from xtcq.allocation.program import LayerCosts, cheapest
from xtcq.allocation.rounding import round_to_budget
from xtcq.allocation.sensitivity import METRICS, sensitivities
from xtcq.allocation.settings import METHODS, Allocation
from xtcq.allocation.space import SearchSpace

__all__ = [
    "METHODS",
    "METRICS",
    "Allocation",
    "FracBits",
    "LayerCosts",
    "SearchSpace",
    "cheapest",
    "choose_widths",
    "random",
    "round_to_budget",
    "sensitivities",
    "uniform",
]
