"""What a recipe quantizes, and how: the papers' schemes as one quantizer factory for each slot of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from xtcq.checks import check_choice, check_integer
from xtcq.quantization.binarybert import LearnedClipQuantizer
from xtcq.quantization.lsq import LSQQuantizer
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import (
    BinaryQuantizer,
    DynamicQuantizer,
    MedianBinaryQuantizer,
    Quantizer,
    TernaryQuantizer,
)

Factory = Callable[[int], Quantizer]


def closed_form_weights(
    granularity: str, clip: float | None = None, binary: type[BinaryQuantizer] = BinaryQuantizer
) -> Factory:
    """Return a factory of quantizers by closed formula, from bits: binary, ternary, dynamic from 3 bits on."""

    def build(bits: int) -> Quantizer:
        if bits == 1:
            return binary(granularity, clip)
        if bits == 2:
            return TernaryQuantizer(granularity, clip)
        return DynamicQuantizer(bits, granularity=granularity, clip=clip)

    return build


def learned_clips(symmetric: bool, signed: bool) -> Factory:
    """Return BinaryBERT's factory: learned clips above four bits, learned steps up to four."""
    return lambda bits: LearnedClipQuantizer(bits, symmetric) if bits > 4 else LSQQuantizer(bits, signed)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One paper's scheme. The six linear layers of every encoder layer are quantized by all of them.

    Attributes:
        name: as in ``QuantConfig``.
        weight: makes the quantizer of a linear layer's weight, from its bits.
        table: makes that of an embedding table, likewise.
        input: makes that of a linear layer's input.
        activated_input: that of the input of the second feed-forward matrix; as ``input`` where None.
        operand: that of q, k and v; None leaves the operands of attention alone.
        probabilities: that of the attention probabilities; as ``operand`` where None.
        binary: one bit is part of the scheme.
        splits: one bit means that the ternary weight is split into two binary ones.
        pooler: the pooler is quantized like the other linear layers.
        counts_all_matrices: the paper's nominal size counts every 2-D weight at the quantized width and nothing else
            (XTC), instead of what stays in floating point at 32 bits (TernaryBERT, AdaQAT-BERT).
        source: where the choices come from.

    >>> from xtcq.quantization import RECIPES
    >>> RECIPES["xtc"].weight(1)
    BinaryQuantizer(bits=1, granularity=tensor, clip=None)
    """

    name: str
    weight: Factory
    table: Factory
    input: Factory
    activated_input: Factory | None = None
    operand: Factory | None = None
    probabilities: Factory | None = None
    binary: bool = True
    splits: bool = False
    pooler: bool
    counts_all_matrices: bool = False
    source: str


XTC = Recipe(
    name="xtc",
    weight=closed_form_weights("tensor"),
    table=closed_form_weights("row"),
    input=partial(DynamicQuantizer, granularity="token"),
    pooler=False,
    counts_all_matrices=True,
    source="DeepSpeed's XTC: DeepSpeedExamples compression/bert/config/XTC/ds_config_W1A8_Qgroup1_fp32.json and "
    "DeepSpeed deepspeed/compression/basic_layer.py (one scale per matrix, one per embedding row, one per token)",
)

XTC_MEDIAN = replace(
    XTC,
    name="xtc-median",
    weight=closed_form_weights("tensor", binary=MedianBinaryQuantizer),
    table=closed_form_weights("row", binary=MedianBinaryQuantizer),
    source="XTC's, with the median magnitude as scale at one bit, after Nielsen and Schneider-Kamp 2024 "
    "(arXiv 2407.09527)",
)

TERNARYBERT = Recipe(
    name="ternarybert",
    weight=closed_form_weights("tensor", clip=2.5),
    table=closed_form_weights("row", clip=2.5),
    input=partial(DynamicQuantizer, clip=2.5),
    operand=partial(DynamicQuantizer, clip=2.5),
    binary=False,
    pooler=True,
    source="TernaryBERT transformer/utils_quant.py (QuantizeLinear, QuantizeEmbedding, clip_val 2.5) and "
    "transformer/modeling_quant.py (q, k, v, probabilities, pooler)",
)

ADAQAT = Recipe(
    name="adaqat",
    weight=LSQQuantizer,
    table=LSQQuantizer,
    input=LSQQuantizer,
    pooler=True,
    source="AdaQAT-BERT section 3 and its transformer/utils_quant.py (signed LSQ per tensor, 73 linear layers with "
    "the pooler); its code also quantizes q, k, v and probabilities with 8 dynamic bits, which the paper does not say",
)

BINARYBERT = Recipe(
    name="binarybert",
    weight=closed_form_weights("tensor"),
    table=closed_form_weights("row"),
    input=learned_clips(symmetric=True, signed=True),
    activated_input=learned_clips(symmetric=False, signed=True),
    operand=learned_clips(symmetric=True, signed=True),
    probabilities=learned_clips(symmetric=False, signed=False),
    splits=True,
    pooler=True,
    source="BinaryBERT transformer/utils_quant.py and transformer/binary_model_init.py: ternary weights that are split "
    "into two binary ones, learned clips (symmetric for q, k, v and most inputs, asymmetric for probabilities and the "
    "input of the second feed-forward matrix), learned steps at four bits. BinaryBERT splits a student of half the "
    "width, so that the split one is as large as BERT-base; here the width is kept, and one bit costs two a weight",
)

RECIPES = {recipe.name: recipe for recipe in (XTC, XTC_MEDIAN, TERNARYBERT, ADAQAT, BINARYBERT)}


@dataclass(frozen=True)
class QuantConfig:
    """How a model is quantized.

    Attributes:
        precision: bit-widths; a string is parsed.
        recipe: ``"xtc"``, ``"xtc-median"``, ``"ternarybert"``, ``"binarybert"`` or ``"adaqat"``.
        lora_rank: rank of the low-rank terms of all quantized linear layers, 0 for none (XTC appendix B.3: 1 or 8).

    Raises:
        ValueError: precision not understood, recipe unknown, rank negative, without quantized weights or beside split
            ones, or one bit asked of a recipe that has none.

    >>> from xtcq import QuantConfig
    >>> QuantConfig("1-1-8", lora_rank=1).precision
    Precision(weights=1, embeddings=(1, 32, 32), activations=8)
    """

    precision: Precision
    recipe: str = "xtc"
    lora_rank: int = 0

    def __post_init__(self) -> None:
        """Parse and check."""
        if isinstance(self.precision, str):
            object.__setattr__(self, "precision", Precision.parse(self.precision))
        if not isinstance(self.precision, Precision):
            raise ValueError(f"precision is {self.precision!r}, expected a Precision or a string such as '2-4-4'")
        check_choice("recipe", self.recipe, RECIPES)
        check_integer("lora_rank", self.lora_rank, 0, remedy="; 0 means no low-rank term")
        if self.lora_rank and self.precision.weights == FLOAT_BITS:
            raise ValueError(
                f"lora_rank is {self.lora_rank} but weights stay in floating point: set lora_rank=0, or give the "
                "weights 1 to 8 bits"
            )
        if self.lora_rank and self.splits:
            raise ValueError(
                f"lora_rank is {self.lora_rank} but recipe {self.recipe!r} splits 1-bit weights in two, which has no "
                "low-rank term: set lora_rank=0, or use recipe 'xtc'"
            )
        one_bit = 1 in (self.precision.weights, *self.precision.embeddings)
        if one_bit and not self.scheme.binary:
            raise ValueError(
                f"precision '{self.precision}' asks recipe {self.recipe!r} for one bit, which it does not have: use "
                "2 bits (ternary), or recipe 'xtc'"
            )

    @property
    def splits(self) -> bool:
        """Whether every quantized matrix becomes two binary ones."""
        return self.scheme.splits and self.precision.weights == 1

    @property
    def scheme(self) -> Recipe:
        """The recipe's choices."""
        return RECIPES[self.recipe]
