"""Bit-widths that learn: AdaQAT for BERT.

``widths`` is the arithmetic of fractional widths, ``settings`` says how they are learned and which layers share them,
``replay`` is a forward pass that begins where something changed, and ``controller`` puts all that beside a training
step.
"""

from xtcq.adaqat.controller import AdaQAT, narrowed, reduction_error
from xtcq.adaqat.replay import Replay
from xtcq.adaqat.settings import GRANULARITIES, MOST_ETA, AdaQATSettings, begin, partition
from xtcq.adaqat.widths import ACTIVATIONS, PUBLISHED_ETA, THRESHOLD, WEIGHTS, Width, WidthSearch, pressures
