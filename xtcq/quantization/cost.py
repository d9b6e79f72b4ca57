"""Size in bytes and cost in bit operations, as the papers count them and as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, BertConfig, BertModel

from xtcq.checks import check_choice, check_integer
from xtcq.quantization.contents import TABLES, Encoder, find_encoder, quant_config, quantized_layers, recipe_linears
from xtcq.quantization.convert import quantize
from xtcq.quantization.layers import QuantizedLayer
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import LEARNED_SCALES
from xtcq.quantization.recipes import QuantConfig

MIB = 2**20
MB = 10**6
REST_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_BERT_BASE = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
ARCHITECTURES = {
    "bert-base": _BERT_BASE,  # bert-base-uncased
    # all-MiniLM-L6-v2
    "minilm-l6": _BERT_BASE | {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
}


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model; MiB is 2^20 bytes, MB is 10^6 bytes.

    Attributes:
        parameters: number of weights, biases and low-rank factors, with the task head and without step sizes.
        nominal_mib: what the recipe's paper would print, see ``model_size``.
        packed_mib: bytes of all parameters once codes are packed, see ``model_size``.
        embedding_mb: the three embedding tables without scales, as in AdaQAT-BERT Table 5.
    """

    parameters: int
    nominal_mib: float
    packed_mib: float
    embedding_mb: float


def architecture(name: str, layers: int | None = None) -> BertModel:
    """Return an encoder with pooler on the meta device, of some or all layers: shapes only, no memory, no download.

    Args:
        name: "bert-base", "minilm-l6", or a folder with a BERT's ``config.json``.
        layers: number of encoder layers, if not all.

    Raises:
        ValueError: the name is neither, the configuration is none of a BERT, or it has fewer layers.

    >>> from xtcq.quantization import architecture
    >>> sum(p.numel() for p in architecture("bert-base").parameters())
    109482240
    """
    config: Any
    if name in ARCHITECTURES:
        config = BertConfig.from_dict(ARCHITECTURES[name])
    elif (Path(name) / "config.json").is_file():
        config = AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False)
        check_choice(f"model_type of {name}", config.model_type, ("bert",))
    else:
        named = ", ".join(map(repr, ARCHITECTURES))
        raise ValueError(f"architecture is {name!r}, expected one of {named}, or a folder with a config.json")
    most = config.num_hidden_layers
    config.num_hidden_layers = check_integer("layers", most if layers is None else layers, 1, most, f" for {name}")
    with torch.device("meta"):
        return BertModel(config)


def model_size(model: nn.Module, rest: str = "fp32") -> ModelSize:
    """Measure a model: floating-point, fake-quantized or frozen, on any device including meta.

    Nominal size, by the recipe in ``model.quant_config`` (XTC's for a model that was never quantized):

    * ``xtc``, ``xtc-median``: every 2-D weight of the encoder at b bits, also the pooler and the segment and position
      tables that the recipe leaves in floating point (the pooler counts with the weights' bits, the tables with their
      own bits or, at 32, with the token table's). Biases, LayerNorm, scales and the task head are not counted. A
      low-rank factor counts 2 bytes with 1-bit weights and 4 bytes with more: XTC's 2-bit sizes are twice the 1-bit
      sizes.
    * ``ternarybert``, ``binarybert``, ``adaqat``: quantized weights at their bits, a split matrix as two of one bit,
      all else of the encoder at 4 bytes. Scales and the task head are not counted (AdaQAT-BERT Table 2 quotes
      TernaryBERT's 28.0, which is MiB).

    Packed size: codes of one bit, ternary codes five to a byte (1.6 bits), other codes at their bits, each tensor
    filled up to a whole byte; plus scales and everything else of the model, task head and activation
    steps included, at 4 bytes (``rest="fp32"``) or 2 bytes (``rest="fp16"``). File headers are not counted.

    Args:
        model: a model that holds one BertModel.
        rest: width of what is not packed, ``"fp32"`` or ``"fp16"``.

    Raises:
        ValueError: no BertModel in the model, or rest unknown.

    >>> from xtcq import QuantConfig, model_size, quantize
    >>> from xtcq.quantization import architecture
    >>> size = model_size(quantize(architecture("bert-base"), QuantConfig("1-1-8")))
    >>> f"{size.nominal_mib:.1f} MiB as XTC counts, {size.packed_mib:.1f} MiB packed"
    '13.0 MiB as XTC counts, 17.3 MiB packed'
    """
    check_choice("rest", rest, REST_DTYPES)
    config = quant_config(model)
    _, encoder = find_encoder(model)
    nominal = _nominal_bytes_xtc if config.scheme.counts_all_matrices else _nominal_bytes_mixed
    tables = (_bits_and_numel(encoder.get_submodule(name)) for name in TABLES)
    return ModelSize(
        parameters=_parameters(model),
        nominal_mib=nominal(encoder, config) / MIB,
        packed_mib=_packed_bytes(model, REST_DTYPES[rest].itemsize) / MIB,
        embedding_mb=sum(bits * numel for bits, numel in tables) / 8 / MB,
    )


def bitops(model: nn.Module) -> int:
    """Return the bit operations per token, sum of Nw * Na * |w| over the linear layers of the recipe.

    A layer counts its weight's bits times its input's bits times its number of weights; one left in floating point
    counts 32 * 32. Attention products, embeddings, low-rank terms and the task head are not counted (AdaQAT-BERT
    Table 2: 73 layers of BERT-base, pooler included; with recipe ``xtc`` the pooler is not part of it). Bit-widths are
    the integers that the quantizers hold, so a fractional width counts rounded up.

    >>> from xtcq import QuantConfig, bitops, quantize
    >>> from xtcq.quantization import architecture
    >>> bitops(quantize(architecture("bert-base"), QuantConfig("2-4-4", "adaqat"))) / 1e9
    0.68419584
    """
    config = quant_config(model)
    # With ``include``, layers outside the recipe may be quantized too. Tables multiply nothing: their input has 0 bits.
    total = 0
    for layer in (recipe_linears(model, config) | quantized_layers(model)).values():
        bits, numel = _bits_and_numel(layer)
        total += bits * numel * (layer.input_bits if isinstance(layer, QuantizedLayer) else FLOAT_BITS)
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
        arch: name or folder for ``architecture``.
        precision: notation for ``Precision.parse``.
        recipe: as in ``QuantConfig``.
        layers: number of encoder layers, if not all.
        lora_rank: as in ``QuantConfig``.
        embeddings: "T-K-P" for ``Precision.parse``.

    Returns:
        ``nominal_mib``, ``packed_mib``, ``embedding_mb``, ``bitops`` and ``parameters``.

    Raises:
        ValueError: the name or depth of the architecture, the notation, the recipe or the rank is none.

    >>> from xtcq import cost_report
    >>> round(cost_report("bert-base", "2-4", "adaqat", embeddings="4-32-4")["embedding_mb"], 2)
    11.92
    """
    config = QuantConfig(Precision.parse(precision, embeddings), recipe, lora_rank)
    # A folder may hold another model the next time.
    size, operations = (_cost if arch in ARCHITECTURES else _cost.__wrapped__)(arch, config, layers)
    return {
        "nominal_mib": size.nominal_mib,
        "packed_mib": size.packed_mib,
        "embedding_mb": size.embedding_mb,
        "bitops": operations,
        "parameters": size.parameters,
    }


# A page asks for the same models again and again, and building one takes longer than all else that it computes. Typed,
# since 1.0 and True are no number of layers.
@lru_cache(maxsize=1024, typed=True)
def _cost(arch: str, config: QuantConfig, layers: int | None) -> tuple[ModelSize, int]:
    model = quantize(architecture(arch, layers), config)
    return model_size(model), bitops(model)


def _bits_and_numel(layer: nn.Module) -> tuple[int, int]:
    """Bits of a weight, and number of weights, of a linear layer or a table, quantized or not."""
    if isinstance(layer, QuantizedLayer):
        return layer.bits, layer.numel
    return FLOAT_BITS, layer.get_parameter("weight").numel()


def _nominal_bytes_xtc(encoder: Encoder, config: QuantConfig) -> float:
    total = 0
    matrices = {name: m for name, m in encoder.named_modules() if isinstance(m, (nn.Linear, nn.Embedding))}
    for name, module in (matrices | quantized_layers(encoder)).items():
        bits, numel = _bits_and_numel(module)
        if bits == FLOAT_BITS:
            bits = config.precision.token if name in TABLES else config.precision.weights
        total += bits * numel
    factors = sum(p.numel() for name, p in encoder.named_parameters() if name.endswith(("lora_u", "lora_v")))
    return total / 8 + factors * (2 if config.precision.weights == 1 else 4)


def _nominal_bytes_mixed(encoder: Encoder, config: QuantConfig) -> float:
    layers = list(_with_codes(encoder))
    bits = sum(layer.bits * layer.numel for layer in layers)
    return bits / 8 + 4 * (_parameters(encoder) - sum(layer.numel for layer in layers))


def _packed_bytes(model: nn.Module, rest_bytes: int) -> int:
    layers = list(_with_codes(model))
    rest = _parameters(model) + sum(layer.scales - layer.numel for layer in layers)
    # The step of a weight is its scale, which was counted.
    rest += sum(p.numel() for name, p in _learned_scales(model) if ".weight_quantizer." not in name)
    return sum(layer.packed_bytes for layer in layers) + rest * rest_bytes


def _with_codes(model: nn.Module) -> Iterator[QuantizedLayer]:
    return (layer for layer in quantized_layers(model).values() if layer.bits < FLOAT_BITS)


def _learned_scales(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if name.endswith(LEARNED_SCALES))


def _parameters(model: nn.Module) -> int:
    frozen = sum(layer.numel for layer in quantized_layers(model).values() if layer.is_frozen)
    scales = sum(p.numel() for _, p in _learned_scales(model))
    return frozen + sum(p.numel() for p in model.parameters()) - scales
