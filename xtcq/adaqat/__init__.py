"""Bit-widths that learn: AdaQAT for BERT.

`search` is the arithmetic of fractional widths, `groups` says which layers share them and how many steps they need,
`selection` and `replay` are what it costs to learn them in a model, `controller` puts all that beside a training step.
"""

from xtcq.adaqat.controller import AdaQAT
from xtcq.adaqat.groups import begin, departures, needed_steps, partition
from xtcq.adaqat.replay import Replay
from xtcq.adaqat.search import ACTIVATIONS, WEIGHTS, Length, Width, WidthSearch, pressures
from xtcq.adaqat.selection import narrowed, reduction_error
from xtcq.adaqat.settings import GRANULARITIES, AdaQATSettings

__all__ = [
    "ACTIVATIONS",
    "GRANULARITIES",
    "WEIGHTS",
    "AdaQAT",
    "AdaQATSettings",
    "Length",
    "Replay",
    "Width",
    "WidthSearch",
    "begin",
    "departures",
    "narrowed",
    "needed_steps",
    "partition",
    "pressures",
    "reduction_error",
]
