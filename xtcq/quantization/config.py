"""What a recipe quantizes, and how: the papers' schemes as values."""

from __future__ import annotations

from dataclasses import dataclass

from xtcq.quantization.dynamic import DynamicQuantizer
from xtcq.quantization.lsq import LSQQuantizer
from xtcq.quantization.pact import LearnedClipQuantizer
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import BinaryQuantizer, Quantizer, TernaryQuantizer


@dataclass(frozen=True)
class Recipe:
    """One paper's scheme. The six linear layers of every encoder layer are quantized by all of them.

    Attributes:
        name: as in `QuantConfig`.
        learned: step sizes are learned (LSQ) instead of measured at every call.
        embedding_granularity: of the embedding tables; weights always have one scale per matrix.
        activation_granularity: of the inputs of linear layers and of the attention operands.
        clip: bound of the clipped straight-through rule, or None for the identity rule.
        binary: one bit is part of the scheme.
        pooler: the pooler is quantized like the other linear layers.
        operands: q, k, v and the attention probabilities are quantized.
        splits: one bit means that the ternary weight is split into two binary ones.
        learned_clip: activations of more than four bits are clipped at learned bounds, and others have learned steps.
        counts_all_matrices: the paper's nominal size counts every 2-D weight at the quantized width and nothing else
            (XTC), instead of what stays in floating point at 32 bits (TernaryBERT, AdaQAT-BERT).
        source: where the choices come from.
    """

    name: str
    learned: bool
    embedding_granularity: str
    activation_granularity: str
    clip: float | None
    binary: bool
    pooler: bool
    operands: bool
    counts_all_matrices: bool
    source: str
    splits: bool = False
    learned_clip: bool = False

    def weight_quantizer(self, bits: int) -> Quantizer | None:
        """Return a new quantizer for the weight of a linear layer; None at 32 bits."""
        return self._weights(bits, "tensor")

    def embedding_quantizer(self, bits: int) -> Quantizer | None:
        """Return a new quantizer for an embedding table; None at 32 bits."""
        return self._weights(bits, self.embedding_granularity)

    def activation_quantizer(self, bits: int, role: str = "input") -> Quantizer | None:
        """Return a new quantizer for an activation; None at 32 bits.

        Args:
            bits: width.
            role: ``"input"`` of a linear layer, or q, k or v; ``"activated"`` for the input of the second feed-forward
                matrix; ``"probabilities"`` for those of attention. Only a recipe with learned clips tells them apart.
        """
        if bits == FLOAT_BITS:
            return None
        if self.learned_clip and bits > 4:
            return LearnedClipQuantizer(bits, symmetric=role == "input")
        if self.learned or self.learned_clip:
            signed = not (self.learned_clip and role == "probabilities")
            return LSQQuantizer(bits, signed=signed, granularity=self.activation_granularity)
        return DynamicQuantizer(bits, granularity=self.activation_granularity, clip=self.clip)

    def _weights(self, bits: int, granularity: str) -> Quantizer | None:
        if bits == FLOAT_BITS:
            return None
        if self.learned:
            return LSQQuantizer(bits, granularity=granularity)
        if bits == 1:
            return BinaryQuantizer(granularity, self.clip)
        if bits == 2:
            return TernaryQuantizer(granularity, self.clip)
        return DynamicQuantizer(bits, granularity=granularity, clip=self.clip)


XTC = Recipe(
    name="xtc",
    learned=False,
    embedding_granularity="row",
    activation_granularity="token",
    clip=None,
    binary=True,
    pooler=False,
    operands=False,
    counts_all_matrices=True,
    source="DeepSpeed's XTC: DeepSpeedExamples compression/bert/config/XTC/ds_config_W1A8_Qgroup1_fp32.json and "
    "DeepSpeed deepspeed/compression/basic_layer.py (one scale per matrix, one per embedding row, one per token)",
)

TERNARYBERT = Recipe(
    name="ternarybert",
    learned=False,
    embedding_granularity="row",
    activation_granularity="tensor",
    clip=2.5,
    binary=False,
    pooler=True,
    operands=True,
    counts_all_matrices=False,
    source="TernaryBERT transformer/utils_quant.py (QuantizeLinear, QuantizeEmbedding, clip_val 2.5) and "
    "transformer/modeling_quant.py (q, k, v, probabilities, pooler)",
)

ADAQAT = Recipe(
    name="adaqat",
    learned=True,
    embedding_granularity="tensor",
    activation_granularity="tensor",
    clip=None,
    binary=True,
    pooler=True,
    operands=False,
    counts_all_matrices=False,
    source="AdaQAT-BERT section 3 and its transformer/utils_quant.py (signed LSQ per tensor, 73 linear layers with "
    "the pooler); its code also quantizes q, k, v and probabilities with 8 dynamic bits, which the paper does not say",
)

BINARYBERT = Recipe(
    name="binarybert",
    learned=False,
    embedding_granularity="row",
    activation_granularity="tensor",
    clip=None,
    binary=True,
    pooler=True,
    operands=True,
    counts_all_matrices=False,
    splits=True,
    learned_clip=True,
    source="BinaryBERT transformer/utils_quant.py and transformer/binary_model_init.py: ternary weights that are split "
    "into two binary ones, learned clips (symmetric for q, k, v and most inputs, asymmetric for probabilities and the "
    "input of the second feed-forward matrix), learned steps at four bits. BinaryBERT splits a student of half the "
    "width, so that the split one is as large as BERT-base; here the width is kept, and one bit costs two a weight",
)

RECIPES = {recipe.name: recipe for recipe in (XTC, TERNARYBERT, ADAQAT, BINARYBERT)}


@dataclass(frozen=True)
class QuantConfig:
    """How a model is quantized.

    Attributes:
        precision: bit-widths; a string is parsed.
        recipe: "xtc", "ternarybert", "binarybert" or "adaqat".
        lora_rank: rank of the low-rank terms of all quantized linear layers, 0 for none (XTC appendix B.3: 1 or 8).

    Raises:
        ValueError: precision not understood, recipe unknown, rank negative, without quantized weights or beside split
            ones, or one bit asked of a recipe that has none.
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
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe {self.recipe!r} is unknown: use one of {', '.join(map(repr, RECIPES))}")
        if isinstance(self.lora_rank, bool) or not isinstance(self.lora_rank, int) or self.lora_rank < 0:
            raise ValueError(f"lora_rank is {self.lora_rank!r}, expected an integer >= 0; 0 means no low-rank term")
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
