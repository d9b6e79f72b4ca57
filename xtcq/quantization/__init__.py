"""Quantizers, the layers that carry them, and what they cost."""

from xtcq.quantization.architectures import ARCHITECTURES, architecture
from xtcq.quantization.attention import ATTENTION_NAME, register_attention, score_attention, use_score_attention
from xtcq.quantization.config import RECIPES, QuantConfig, Recipe
from xtcq.quantization.convert import freeze, quantization_map, quantize
from xtcq.quantization.cost import ModelSize, bitops, cost_report, model_size
from xtcq.quantization.dynamic import DynamicQuantizer
from xtcq.quantization.frozen import FrozenEmbedding, FrozenLinear
from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.lsq import STEPS, LSQQuantizer
from xtcq.quantization.pact import LearnedClipQuantizer
from xtcq.quantization.precision import Precision
from xtcq.quantization.quantizers import LEARNED_SCALES, BinaryQuantizer, Quantizer, TernaryQuantizer
from xtcq.quantization.splitting import SplitEmbedding, SplitLinear, split_ternary
from xtcq.quantization.tensor import QuantizedTensor
from xtcq.quantization.widths import Widths, get_widths, set_widths

__all__ = [
    "ARCHITECTURES",
    "ATTENTION_NAME",
    "RECIPES",
    "STEPS",
    "BinaryQuantizer",
    "DynamicQuantizer",
    "FrozenEmbedding",
    "FrozenLinear",
    "LEARNED_SCALES",
    "LSQQuantizer",
    "LearnedClipQuantizer",
    "ModelSize",
    "Precision",
    "QuantConfig",
    "QuantEmbedding",
    "QuantLinear",
    "QuantizedTensor",
    "SplitEmbedding",
    "SplitLinear",
    "Quantizer",
    "Recipe",
    "TernaryQuantizer",
    "Widths",
    "architecture",
    "bitops",
    "cost_report",
    "freeze",
    "get_widths",
    "model_size",
    "quantization_map",
    "quantize",
    "register_attention",
    "score_attention",
    "set_widths",
    "split_ternary",
    "use_score_attention",
]
