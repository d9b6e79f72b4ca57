"""Which width to lower next: the change that one bit less would make (AdaQAT-BERT, Equation 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from xtcq.quantization import LSQQuantizer


@contextmanager
def narrowed(quantizers: Iterable[LSQQuantizer], steps: str) -> Iterator[None]:
    """Take one bit from each quantizer for a while; its bits and its step are exactly as before at the end.

    Args:
        quantizers: of at least two bits each.
        steps: what becomes of their steps, "keep" or "rescale".
    """
    before = [(quantizer, quantizer.bits, quantizer.step.data) for quantizer in quantizers]
    try:
        for quantizer, bits, step in before:
            quantizer.step.data = step.clone()  # to go back to, since a factor and its inverse may not cancel
            quantizer.change_bits(bits - 1, steps)
        yield
    finally:
        for quantizer, bits, step in before:
            quantizer.bits, quantizer.step.data = bits, step


@torch.no_grad()
def reduction_error(quantizer: LSQQuantizer, x: Tensor, steps: str) -> Tensor:
    """Mean squared difference of `x` quantized at the quantizer's width and at one bit less (Equation 7).

    Args:
        quantizer: its step must be set; at one bit there is nothing less, and the difference is 0.
        x: any shape.
        steps: what becomes of the step at one bit less, "keep" or "rescale".

    Returns:
        Scalar tensor on the device of `x`.
    """
    if quantizer.bits == 1:
        return torch.zeros((), device=x.device)
    if steps == "rescale" or (quantizer.bits == 2 and quantizer.signed):
        values = quantizer(x)
        with narrowed([quantizer], steps):
            return F.mse_loss(quantizer(x), values)
    # With the same step, the codes differ only where they exceed the narrower range.
    codes, step, _ = quantizer.encode(x)
    with narrowed([quantizer], steps):
        inside = codes.clamp(*quantizer.levels)
    return torch.linalg.vector_norm(codes.sub_(inside).mul_(step)).square() / x.numel()


def choose(errors: dict[int, Tensor]) -> int:
    """Return the layer with the smallest error; the first of equal ones.

    NaN counts as greatest. One reading of the device, however many layers there are.
    """
    values = torch.stack(list(errors.values())).nan_to_num(nan=torch.inf)
    return list(errors)[int(values.argmin())]
