"""Quantizers, the layers that carry them, and what they cost."""

from xtcq.quantization.architectures import ARCHITECTURES, architecture
from xtcq.quantization.attention import ATTENTION_NAME, register_attention, score_attention, use_score_attention
from xtcq.quantization.config import RECIPES, QuantConfig, Recipe
from xtcq.quantization.convert import freeze, quantization_map, quantize
from xtcq.quantization.cost import ModelSize, bitops, cost_report, model_size
from xtcq.quantization.dynamic import DynamicQuantizer
from xtcq.quantization.frozen import FrozenEmbedding, FrozenLinear
from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.lsq import LSQQuantizer
from xtcq.quantization.precision import Precision
from xtcq.quantization.quantizers import BinaryQuantizer, Quantizer, TernaryQuantizer
from xtcq.quantization.tensor import QuantizedTensor

__all__ = [
    "ARCHITECTURES",
    "ATTENTION_NAME",
    "RECIPES",
    "BinaryQuantizer",
    "DynamicQuantizer",
    "FrozenEmbedding",
    "FrozenLinear",
    "LSQQuantizer",
    "ModelSize",
    "Precision",
    "QuantConfig",
    "QuantEmbedding",
    "QuantLinear",
    "QuantizedTensor",
    "Quantizer",
    "Recipe",
    "TernaryQuantizer",
    "architecture",
    "bitops",
    "cost_report",
    "freeze",
    "model_size",
    "quantization_map",
    "quantize",
    "register_attention",
    "score_attention",
    "use_score_attention",
]
