"""Bit-widths that learn: AdaQAT for BERT.

`search` is the arithmetic of fractional widths, `selection` and `replay` are what it costs to learn them in a model,
`controller` puts the three beside a training step.
"""

from xtcq.adaqat.controller import AdaQAT
from xtcq.adaqat.replay import Replay
from xtcq.adaqat.search import ACTIVATIONS, WEIGHTS, Width, WidthSearch, budget_eta, pressures
from xtcq.adaqat.selection import narrowed, reduction_error
from xtcq.adaqat.settings import AdaQATSettings

__all__ = [
    "ACTIVATIONS",
    "WEIGHTS",
    "AdaQAT",
    "AdaQATSettings",
    "Replay",
    "Width",
    "WidthSearch",
    "budget_eta",
    "narrowed",
    "pressures",
    "reduction_error",
]
