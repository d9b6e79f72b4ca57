"""Activations as bytes in an ONNX graph: the input quantizers of ``xtcq.quantization``, as trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xtcq.deploy.graph import Graph, Operand
from xtcq.quantization import DynamicQuantizer, LSQQuantizer, Quantizer

_TINY = np.float32(np.finfo(np.float32).tiny)
_LAST = np.array([-1], np.int64)


@dataclass(frozen=True)
class QuantizedActivation:
    """A quantized activation, of value ``(codes - zero) * scale``.

    Codes are unsigned, because x86 has no fast product of signed bytes with signed bytes; signed ones are stored with
    128 added.

    Attributes:
        codes: uint8 [..., features].
        zero: uint8 scalar.
        scale: float scalar, or [..., 1] for one scale per token.
        levels: least and greatest ``codes - zero``.
        tokens: where there is one scale per token, their shape and the number of features that share one; else None.
    """

    codes: str
    zero: np.uint8
    scale: str
    levels: tuple[int, int]
    tokens: tuple[str, int] | None


def quantize_activation(graph: Graph, quantizer: Quantizer, x: str, features: int, shape: str) -> QuantizedActivation:
    """Append ``quantizer`` for the activation ``x`` [..., features], to the same codes that it gives in PyTorch.

    Args:
        graph: appended to.
        quantizer: of the activation.
        x: its name.
        features: length of its last axis.
        shape: name of the shape of one scale per token, int64: the shape of ``x`` with 1 in place of ``features``.

    Raises:
        ValueError: a quantizer that has no form in bytes.
    """
    # The exact classes: a subclass may compute something else.
    if type(quantizer) is LSQQuantizer and quantizer.granularity == "tensor" and quantizer.levels != (-1, 1):
        return _learned(graph, quantizer, x)
    if type(quantizer) is DynamicQuantizer and quantizer.symmetric:
        if quantizer.clip is not None:
            x = graph("Clip", x, np.float32(-quantizer.clip), np.float32(quantizer.clip))
        tokens = None if quantizer.granularity == "tensor" else (shape, features)
        return _dynamic(graph, quantizer, x, tokens)
    raise ValueError(
        f"activations quantized by {quantizer} cannot run as integers: expected a symmetric DynamicQuantizer, or an "
        "LSQQuantizer of two or more bits with one step per tensor"
    )


def dequantize(graph: Graph, x: QuantizedActivation) -> str:
    """Append what turns ``x`` back into floating point, and return its name."""
    zeros, blocks = _zeros(graph, x.zero, x.tokens)
    return graph("DequantizeLinear", x.codes, x.scale, zeros, **blocks)


def _dynamic(graph: Graph, quantizer: DynamicQuantizer, x: str, tokens: tuple[str, int] | None) -> QuantizedActivation:
    # Two operators, where both ends of the range would take four: with few tokens their number is what counts.
    axes = () if tokens is None else (_LAST,)
    greatest = graph("ReduceMax", graph("Abs", x), *axes, keepdims=int(tokens is not None))
    most = 2 ** (quantizer.bits - 1) - 1
    # The scale of a row of zeros is 0: whatever its codes are, they are multiplied by that.
    scale = graph("Div", greatest, np.float32(most))
    zero = np.uint8(128)
    return QuantizedActivation(_codes(graph, x, scale, zero, tokens), zero, scale, (-most, most), tokens)


def _learned(graph: Graph, quantizer: LSQQuantizer, x: str) -> QuantizedActivation:
    if not quantizer.initialized:
        raise ValueError(f"{quantizer} has no step size yet, it is set by the first batch: run the model once")
    step = graph.constant(quantizer.step.detach().abs().clamp_min(float(_TINY)).cpu().numpy())
    zero = np.uint8(128 if quantizer.signed else 0)
    codes = _codes(graph, x, step, zero, None)
    if quantizer.bits < 8:  # 8 bits end where bytes end
        codes = graph("Clip", codes, *(np.uint8(int(zero) + level) for level in quantizer.levels))
    return QuantizedActivation(codes, zero, step, quantizer.levels, None)


def _codes(graph: Graph, x: str, scale: str, zero: np.uint8, tokens: tuple[str, int] | None) -> str:
    zeros, blocks = _zeros(graph, zero, tokens)
    return graph("QuantizeLinear", x, scale, zeros, **blocks)


def _zeros(graph: Graph, zero: np.uint8, tokens: tuple[str, int] | None) -> tuple[Operand, dict[str, int]]:
    """Return the zero point in the scale's shape, and the attributes that say which elements share a scale."""
    if tokens is None:
        return zero, {}
    # A token is one block of the last axis. Scales along another axis would be walked by a loop that is not parallel.
    shape, features = tokens
    return graph("Expand", np.array([zero]), shape), {"axis": -1, "block_size": features}
