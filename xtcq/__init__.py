"""Compress BERT to one and two bits: quantizers, distillation, learned bit-widths, packing.

What stands here is the method, and the study of the book, `Experiment` and `run`. Everything loads when it is asked
for: nobody needs the study for a quantizer, or torch to classify with a packed model.
"""

from typing import TYPE_CHECKING

from xtcq.lazy import on_demand

if TYPE_CHECKING:
    from xtcq.adaqat import AdaQAT, AdaQATSettings, Replay, WidthSearch
    from xtcq.distillation import (
        DistillationLoss,
        LayerMap,
        Stage,
        attention_loss,
        explore_then_refine,
        finetune,
        hidden_loss,
        logit_loss,
        one_stage,
        reduce_layers,
        select_layers,
        three_stage,
        two_stage,
    )
    from xtcq.packing import ModelCard, PackedModelError, load_packed, save_packed
    from xtcq.quantization import (
        BinaryQuantizer,
        DynamicQuantizer,
        LearnedClipQuantizer,
        LSQQuantizer,
        MedianBinaryQuantizer,
        Precision,
        QuantConfig,
        QuantEmbedding,
        QuantizedTensor,
        Quantizer,
        QuantLinear,
        SplitLayer,
        TernaryQuantizer,
        bitops,
        cost_report,
        freeze,
        get_widths,
        model_size,
        quantize,
        set_widths,
        split_ternary,
        use_score_attention,
    )
    from xtcq.study import Experiment, run

__version__ = "0.2.0"

__getattr__, __dir__ = on_demand(__name__, ("quantization", "packing", "distillation", "adaqat", "study"))

__all__ = [
    "AdaQAT",
    "AdaQATSettings",
    "BinaryQuantizer",
    "DistillationLoss",
    "DynamicQuantizer",
    "Experiment",
    "LSQQuantizer",
    "LayerMap",
    "LearnedClipQuantizer",
    "MedianBinaryQuantizer",
    "ModelCard",
    "PackedModelError",
    "Precision",
    "QuantConfig",
    "QuantEmbedding",
    "QuantLinear",
    "QuantizedTensor",
    "Quantizer",
    "Replay",
    "SplitLayer",
    "Stage",
    "TernaryQuantizer",
    "WidthSearch",
    "attention_loss",
    "bitops",
    "cost_report",
    "explore_then_refine",
    "finetune",
    "freeze",
    "get_widths",
    "hidden_loss",
    "load_packed",
    "logit_loss",
    "model_size",
    "one_stage",
    "quantize",
    "reduce_layers",
    "run",
    "save_packed",
    "select_layers",
    "set_widths",
    "split_ternary",
    "three_stage",
    "two_stage",
    "use_score_attention",
]
