"""What a model holds of a recipe: its encoder, the layers that are quantized, and their bit-widths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import BertModel, ElectraModel, RobertaModel

from xtcq.checks import check_choice, check_integer
from xtcq.quantization.layers import QuantizedLayer, QuantLinear
from xtcq.quantization.lsq import RESCALING, LSQQuantizer
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import Quantizer
from xtcq.quantization.recipes import QuantConfig

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
# In the order of ``Precision.embeddings``.
TABLES = ("embeddings.word_embeddings", "embeddings.token_type_embeddings", "embeddings.position_embeddings")

# Encoders of the same layers, by the same names; only what stands before and after them differs.
Encoder = BertModel | RobertaModel | ElectraModel
Widths = dict[str, tuple[int, int]]


def find_encoder(model: nn.Module) -> tuple[str, Encoder]:
    """Return the name ("" for the model itself) and the module of the one encoder in ``model``.

    Raises:
        ValueError: there is none whose layers are BERT's, or more than one.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, Encoder)]
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__} holds {len(found)} encoders with BERT's layers, expected one: pass a BertModel, "
            "RobertaModel or ElectraModel, or a model with a head on one, such as BertForSequenceClassification"
        )
    return found[0]


def recipe_linears(model: nn.Module, config: QuantConfig) -> dict[str, nn.Module]:
    """Return the linear layers of ``model`` that the recipe of ``config`` is about, by name, converted or not."""
    prefix, encoder = find_encoder(model)
    names = [f"encoder.layer.{i}.{name}" for i in range(len(encoder.encoder.layer)) for name in LAYER_LINEARS]
    if config.scheme.pooler and getattr(encoder, "pooler", None) is not None:
        names.append("pooler.dense")
    return {join(prefix, name): encoder.get_submodule(name) for name in names}


def quant_config(model: nn.Module) -> QuantConfig:
    """Return how ``model`` was quantized; 32 bits everywhere for a model that was not."""
    return getattr(model, "quant_config", QuantConfig(Precision.parse("32-32-32")))


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLayer]:
    """Return the quantized layers of ``model`` by name, fake-quantized or frozen; of split ones the whole alone."""
    found: dict[str, QuantizedLayer] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer) and name.rpartition(".")[0] not in found:
            found[name] = module
    return found


def quantization_map(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what is quantized in ``model``, and how, as JSON-able values.

    Returns:
        Module name to a dict: ``kind`` ("linear", "embedding", "attention" or "split"), ``frozen``, ``weight`` and
        ``input`` (settings of the quantizer, or None) and ``lora_rank`` for a linear layer, ``weight`` for an
        embedding, ``operands`` for an attention module, ``input`` for a module that was split in two, whose halves have
        entries of their own.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            entries[name] = module.describe()
        elif hasattr(module, "operand_quantizers"):
            operands = {key: quantizer.describe() for key, quantizer in module.operand_quantizers.items()}
            entries[name] = {"kind": "attention", "frozen": False, "operands": operands}
    return entries


def get_widths(model: nn.Module) -> Widths:
    """Return the bit-widths of every quantized linear layer of ``model``, fake-quantized or frozen.

    Returns:
        Module name to (bits of the weight, bits of the input), in the order of the model; 32 is floating point. The
        halves of a split layer are named by themselves, and leave their input to the layer.

    >>> from xtcq import QuantConfig, get_widths, quantize
    >>> from xtcq.quantization import architecture
    >>> get_widths(quantize(architecture("minilm-l6"), QuantConfig("2-4-8", "adaqat")))["pooler.dense"]
    (2, 8)
    """
    return {
        name: (module.bits, module.input_bits)
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLayer) and module.kind == "linear"
    }


def learned_steps(model: nn.Module) -> dict[str, tuple[LSQQuantizer, LSQQuantizer]]:
    """Return, by layer, the quantizers of weight and input of the linear layers that learn the steps of both."""
    pairs = {n: (m.weight_quantizer, m.input_quantizer) for n, m in model.named_modules() if isinstance(m, QuantLinear)}
    return {n: (w, x) for n, (w, x) in pairs.items() if isinstance(w, LSQQuantizer) and isinstance(x, LSQQuantizer)}


def set_widths(model: nn.Module, widths: Mapping[str, tuple[int, int]], rescaling: str = "keep") -> None:
    """Give layers of a model that was quantized with learned steps bit-widths of their own, in place.

    Sizes, ``bitops``, ``freeze``, packing and state dicts follow. A layer that is not named keeps its widths, and
    nothing is changed if any of them cannot be set.

    Args:
        model: a fake-quantized model, recipe ``adaqat``.
        widths: module name to (bits of the weight, bits of the input), each 1 to 8, or 32 for what was left in floating
            point and stays there: what ``get_widths`` returns.
        rescaling: what becomes of the learned steps, see ``LSQQuantizer.change_bits``: ``"keep"`` (AdaQAT-BERT's
            published code) or ``"rescale"``.

    Raises:
        ValueError: rescaling unknown, a name that is no fake-quantized linear layer, a width out of range, one that its
            quantizer does not learn, or one between floating point and quantized.

    >>> from xtcq import QuantConfig, get_widths, quantize, set_widths
    >>> from xtcq.quantization import architecture
    >>> model = quantize(architecture("minilm-l6"), QuantConfig("4-4-4", "adaqat"))
    >>> set_widths(model, {"pooler.dense": (2, 6)})
    >>> get_widths(model)["pooler.dense"]
    (2, 6)
    """
    check_choice("rescaling", rescaling, RESCALING)
    if not isinstance(widths, Mapping):
        raise ValueError(
            f"widths is {widths!r}, expected a mapping from modules to pairs, as get_widths(model) returns"
        )
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, QuantLinear))
    layers = {name: module for name, module in linears if not module.is_frozen}
    changes: list[tuple[LSQQuantizer, int]] = []
    for name, pair in widths.items():
        if name not in layers:
            raise ValueError(
                f"{name!r} is no fake-quantized linear layer of {type(model).__name__}: quantize the model first, set "
                "widths before freeze, and take the names from get_widths(model)"
            )
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{name} has widths {pair!r}, expected (bits of the weight, bits of the input)")
        for role, bits in zip(("weight", "input"), pair, strict=True):
            quantizer = getattr(layers[name], f"{role}_quantizer")
            if bits != (FLOAT_BITS if quantizer is None else quantizer.bits):
                changes.append((_learned(f"{role} of {name}", quantizer, bits), bits))
    for quantizer, bits in changes:
        quantizer.change_bits(bits, rescaling)


def _learned(what: str, quantizer: Quantizer | None, bits: int) -> LSQQuantizer:
    """Return the quantizer if it can have ``bits``; refuse what cannot."""
    if quantizer is None:
        raise ValueError(f"the {what} is in floating point and cannot be given {bits} bits: quantize it, or say 32")
    if not isinstance(quantizer, LSQQuantizer):
        raise ValueError(
            f"the {what} is quantized by {type(quantizer).__name__}, whose width is fixed at {quantizer.bits} bits: "
            "use recipe 'adaqat'"
        )
    check_integer(f"number of bits of the {what}", bits, 1, 8)
    return quantizer


def join(prefix: str, name: str) -> str:
    """The name of a module of the encoder in the model, whose name is ``prefix``."""
    return f"{prefix}.{name}" if prefix else name
