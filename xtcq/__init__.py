"""xtcq: the library under a reproducibility book about compressing BERT to one and two bits."""

from xtcq.adaqat import AdaQAT, AdaQATSettings
from xtcq.deploy import load_packed, save_packed
from xtcq.distillation import (
    DistillationLoss,
    explore_then_refine,
    one_stage,
    reduce_layers,
    three_stage,
    two_stage,
)
from xtcq.quantization import (
    Precision,
    QuantConfig,
    bitops,
    freeze,
    get_widths,
    model_size,
    quantize,
    set_widths,
)
from xtcq.study import Experiment, run

__version__ = "0.1.0"

__all__ = [
    "AdaQAT",
    "AdaQATSettings",
    "DistillationLoss",
    "Experiment",
    "Precision",
    "QuantConfig",
    "bitops",
    "explore_then_refine",
    "freeze",
    "get_widths",
    "load_packed",
    "model_size",
    "one_stage",
    "quantize",
    "reduce_layers",
    "run",
    "save_packed",
    "set_widths",
    "three_stage",
    "two_stage",
]
