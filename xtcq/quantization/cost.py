"""Size in bytes and cost in bit operations, as the papers count them and as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import BertModel

from xtcq.quantization.architectures import architecture
from xtcq.quantization.config import QuantConfig
from xtcq.quantization.convert import quantize, weight_format
from xtcq.quantization.frozen import FrozenEmbedding, FrozenLinear
from xtcq.quantization.layers import QuantLinear
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import LEARNED_SCALES
from xtcq.quantization.splitting import SplitEmbedding, SplitLinear
from xtcq.quantization.targets import TABLES, find_encoder, recipe_linears

MIB = 2**20
MB = 10**6
REST_BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model; MiB is 2^20 bytes, MB is 10^6 bytes.

    Attributes:
        parameters: number of weights, biases and low-rank factors, with the task head and without step sizes.
        nominal_mib: what the recipe's paper would print, see `model_size`.
        packed_mib: bytes of all parameters once codes are packed, see `model_size`.
        embedding_mb: the three embedding tables without scales, as in AdaQAT-BERT Table 5.
    """

    parameters: int
    nominal_mib: float
    packed_mib: float
    embedding_mb: float


def model_size(model: nn.Module, rest: str = "fp32") -> ModelSize:
    """Measure a model: floating-point, fake-quantized or frozen, on any device including meta.

    Nominal size, by the recipe in `model.quant_config` (XTC's for a model that was never quantized):

    * `xtc`: every 2-D weight of the encoder at b bits, also the pooler and the segment and position tables that the
      recipe leaves in floating point (the pooler counts with the weights' bits, the tables with their own bits or, at
      32, with the token table's). Biases, LayerNorm, scales and the task head are not counted. A low-rank factor
      counts 2 bytes with 1-bit weights and 4 bytes with more: XTC's 2-bit sizes are twice the 1-bit sizes.
    * `ternarybert`, `binarybert`, `adaqat`: quantized weights at their bits, a split matrix as two of one bit, all
      else of the encoder at 4 bytes. Scales and the task head are not counted (AdaQAT-BERT Table 2 quotes TernaryBERT's
      28.0, which is MiB).

    Packed size: codes of one bit, ternary codes five to a byte (1.6 bits), other codes at their bits, each tensor
    filled up to a whole byte; plus scales, zero points and everything else of the model, task head and activation
    steps included, at 4 bytes (`rest="fp32"`) or 2 bytes (`rest="fp16"`). File headers are not counted.

    Args:
        model: a model that holds one BertModel.
        rest: width of what is not packed, "fp32" or "fp16".

    Raises:
        ValueError: no BertModel in the model, or rest unknown.
    """
    if rest not in REST_BYTES:
        raise ValueError(f"rest is {rest!r}, expected 'fp32' or 'fp16'")
    config = getattr(model, "quant_config", QuantConfig("32-32-32"))
    _, encoder = find_encoder(model)
    nominal = _nominal_bytes_xtc if config.scheme.counts_all_matrices else _nominal_bytes_mixed
    tables = [encoder.get_submodule(name) for name in TABLES]
    return ModelSize(
        parameters=_parameters(model),
        nominal_mib=nominal(encoder, config) / MIB,
        packed_mib=_packed_bytes(model, REST_BYTES[rest]) / MIB,
        embedding_mb=sum(map(_code_bits, tables)) / 8 / MB,
    )


def bitops(model: nn.Module) -> int:
    """Return the bit operations per token, sum of Nw * Na * |w| over the linear layers of the recipe.

    A layer counts its weight's bits times its input's bits times its number of weights; one left in floating point
    counts 32 * 32. Attention products, embeddings and the task head are not counted (AdaQAT-BERT Table 2: 73 layers
    of BERT-base, pooler included; with recipe `xtc` the pooler is not part of it). Bit-widths are the integers that
    the quantizers hold, so a fractional width counts rounded up.
    """
    config = getattr(model, "quant_config", QuantConfig("32-32-32"))
    layers = recipe_linears(model, config)
    # With `include`, layers outside the recipe may be quantized too.
    layers |= {name: m for name, m in model.named_modules() if isinstance(m, (QuantLinear, FrozenLinear, SplitLinear))}
    total = 0
    for name, layer in layers.items():
        # The halves of a split layer count with it, at the width of its input.
        if not isinstance(layers.get(name.rpartition(".")[0]), SplitLinear):
            total += _code_bits(layer) * _input_bits(layer)
    return total


def cost_report(
    arch: str,
    precision: str,
    recipe: str = "xtc",
    layers: int | None = None,
    lora_rank: int = 0,
    embeddings: str | None = None,
) -> dict[str, float | int]:
    """Size and bit operations of an architecture at a precision, without building its weights.

    Args:
        arch: name for `architecture`.
        precision: notation for `Precision.parse`.
        recipe: as in `QuantConfig`.
        layers: number of encoder layers, if not all.
        lora_rank: as in `QuantConfig`.
        embeddings: "T-K-P" for `Precision.parse`.

    Returns:
        The keys `nominal_mib`, `packed_mib`, `embedding_mb`, `bitops` and `parameters`.

    Raises:
        ValueError: from any of the three.
    """
    config = QuantConfig(Precision.parse(precision, embeddings), recipe, lora_rank)
    model = quantize(architecture(arch, layers), config)
    size = model_size(model)
    return {
        "nominal_mib": size.nominal_mib,
        "packed_mib": size.packed_mib,
        "embedding_mb": size.embedding_mb,
        "bitops": bitops(model),
        "parameters": size.parameters,
    }


def _weight_bits(layer: nn.Module) -> int:
    described = weight_format(layer)
    return FLOAT_BITS if described is None else described["bits"]


def _code_bits(layer: nn.Module) -> int:
    halves = (layer.first, layer.second) if isinstance(layer, (SplitLinear, SplitEmbedding)) else (layer,)
    return sum(_weight_bits(half) * _numel(half) for half in halves)


def _input_bits(layer: nn.Module) -> int:
    quantizer = getattr(layer, "input_quantizer", None)
    return FLOAT_BITS if quantizer is None else quantizer.bits


def _numel(layer: nn.Module) -> int:
    return layer.codes.numel() if isinstance(layer, (FrozenLinear, FrozenEmbedding)) else layer.weight.numel()


def _matrices(encoder: BertModel) -> dict[str, nn.Module]:
    kinds = (nn.Linear, nn.Embedding, FrozenLinear, FrozenEmbedding)
    return {name: module for name, module in encoder.named_modules() if isinstance(module, kinds)}


def _lora_numel(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if name.endswith(("lora_u", "lora_v")))


def _nominal_bytes_xtc(encoder: BertModel, config: QuantConfig) -> float:
    bits = 0
    for name, module in _matrices(encoder).items():
        own = _weight_bits(module)
        if own == FLOAT_BITS:
            own = config.precision.token if name in TABLES else config.precision.weights
        bits += own * _numel(module)
    return bits / 8 + _lora_numel(encoder) * (2 if config.precision.weights == 1 else 4)


def _nominal_bytes_mixed(encoder: BertModel, config: QuantConfig) -> float:
    quantized = [module for module in _matrices(encoder).values() if weight_format(module) is not None]
    codes = sum(_numel(module) for module in quantized)
    bits = sum(_numel(module) * _weight_bits(module) for module in quantized)
    return bits / 8 + 4 * (_parameters(encoder) - codes)


def _packed_bytes(model: nn.Module, rest_bytes: int) -> int:
    packed = scales = codes = 0
    for module in model.modules():
        described = weight_format(module)
        if described is None:
            continue
        numel = _numel(module)
        codes += numel
        packed += -(-numel // 5) if described["quantizer"] == "ternary" else -(-numel * described["bits"] // 8)
        groups = 1 if described["granularity"] == "tensor" else numel // _row_length(module)
        scales += groups * (1 if described.get("symmetric", True) else 2)
    learned = {name: p.numel() for name, p in model.named_parameters() if name.endswith(LEARNED_SCALES)}
    # The step of a weight is its scale, which was counted.
    steps = sum(numel for name, numel in learned.items() if ".weight_quantizer." not in name)
    return packed + (scales + steps + _parameters(model) - codes) * rest_bytes


def _row_length(module: nn.Module) -> int:
    return module.in_features if isinstance(module, (nn.Linear, FrozenLinear)) else module.embedding_dim


def _parameters(model: nn.Module) -> int:
    frozen = sum(_numel(module) for module in model.modules() if isinstance(module, (FrozenLinear, FrozenEmbedding)))
    return frozen + sum(p.numel() for name, p in model.named_parameters() if not name.endswith(LEARNED_SCALES))
