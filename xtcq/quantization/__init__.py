"""Quantizers, the layers that carry them, and what they cost."""

from xtcq.quantization.attention import ATTENTION_NAME, score_attention, use_score_attention
from xtcq.quantization.binarybert import LearnedClipQuantizer, SplitLayer, split_ternary
from xtcq.quantization.codes import CodeFormat, QuantizedTensor, compute_dtype
from xtcq.quantization.contents import (
    LAYER_LINEARS,
    Widths,
    find_encoder,
    get_widths,
    learned_steps,
    quant_config,
    quantization_map,
    quantized_layers,
    set_widths,
)
from xtcq.quantization.convert import check_frozen, check_unchanged, freeze, quantize
from xtcq.quantization.cost import ARCHITECTURES, ModelSize, architecture, bitops, cost_report, model_size
from xtcq.quantization.layers import QuantEmbedding, QuantizedLayer, QuantLinear
from xtcq.quantization.lsq import RESCALING, LSQQuantizer
from xtcq.quantization.precision import Precision
from xtcq.quantization.quantizers import (
    LEARNED_SCALES,
    BinaryQuantizer,
    DynamicQuantizer,
    MedianBinaryQuantizer,
    Quantizer,
    TernaryQuantizer,
)
from xtcq.quantization.recipes import RECIPES, QuantConfig, Recipe
