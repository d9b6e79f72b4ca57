"""Bit-widths layer by layer: read them from a model, set them in a model with learned steps."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from xtcq.quantization.convert import weight_format
from xtcq.quantization.frozen import FrozenLinear
from xtcq.quantization.layers import QuantLinear
from xtcq.quantization.lsq import STEPS, LSQQuantizer
from xtcq.quantization.precision import FLOAT_BITS
from xtcq.quantization.quantizers import Quantizer

Widths = dict[str, tuple[int, int]]


def get_widths(model: nn.Module) -> Widths:
    """Return the bit-widths of every quantized linear layer of `model`, fake-quantized or frozen.

    Returns:
        Module name to (bits of the weight, bits of the input), in the order of the model; 32 is floating point. The
        halves of a split layer are named by themselves, and leave their input to the layer.
    """
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, (QuantLinear, FrozenLinear)):
            described, inputs = weight_format(module), module.input_quantizer
            widths[name] = (
                FLOAT_BITS if described is None else described["bits"],
                FLOAT_BITS if inputs is None else inputs.bits,
            )
    return widths


def set_widths(model: nn.Module, widths: Mapping[str, tuple[int, int]], steps: str = "keep") -> None:
    """Give layers of a model that was quantized with learned steps bit-widths of their own, in place.

    Sizes, `bitops`, `freeze`, packing and state dicts follow. A layer that is not named keeps its widths, and nothing
    is changed if any of them cannot be set.

    Args:
        model: a fake-quantized model, recipe `adaqat`.
        widths: module name to (bits of the weight, bits of the input), each 1 to 8, or 32 for what was left in floating
            point and stays there: what `get_widths` returns.
        steps: what becomes of the learned steps, see `LSQQuantizer.change_bits`: "keep" (AdaQAT-BERT's published code)
            or "rescale".

    Raises:
        ValueError: steps unknown, a name that is no fake-quantized linear layer, a width out of range, one that its
            quantizer does not learn, or one between floating point and quantized.
    """
    if steps not in STEPS:
        raise ValueError(f"steps is {steps!r}, expected one of {', '.join(map(repr, STEPS))}")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}
    changes: list[tuple[LSQQuantizer, int]] = []
    for name, pair in widths.items():
        if name not in layers:
            raise ValueError(
                f"{name!r} is no fake-quantized linear layer of {type(model).__name__}: quantize the model first, set "
                "widths before freeze, and take the names from get_widths(model)"
            )
        if len(pair) != 2:
            raise ValueError(f"{name} has widths {pair!r}, expected (bits of the weight, bits of the input)")
        for role, bits in zip(("weight", "input"), pair, strict=True):
            quantizer = getattr(layers[name], f"{role}_quantizer")
            if _changes(f"{role} of {name}", quantizer, bits):
                changes.append((quantizer, bits))
    for quantizer, bits in changes:
        quantizer.change_bits(bits, steps)


def _changes(what: str, quantizer: Quantizer | None, bits: int) -> bool:
    """Whether `bits` is another width than the quantizer's; refuse one that it cannot have."""
    if bits == (FLOAT_BITS if quantizer is None else quantizer.bits):
        return False
    if quantizer is None:
        raise ValueError(f"the {what} is in floating point and cannot be given {bits} bits: quantize it, or say 32")
    if not isinstance(quantizer, LSQQuantizer):
        raise ValueError(
            f"the {what} is quantized by {type(quantizer).__name__}, whose width is fixed at {quantizer.bits} bits: "
            "use recipe 'adaqat'"
        )
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"the {what} is given {bits!r} bits, expected an integer from 1 to 8")
    return True
