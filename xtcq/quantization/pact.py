"""Uniform quantizer whose clipping bounds are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xtcq.quantization.dynamic import DynamicQuantizer


class LearnedClipQuantizer(DynamicQuantizer):
    r"""Clip to learned bounds, then `DynamicQuantizer`'s levels over what is left.

    .. math:: y = \min(\max(x, -|\beta_0|), |\beta_1|), \qquad \hat x = \operatorname{dynamic}(y)

    The gradient of a bound is the sum of the gradients over the values that it clips, as in PACT, and those values get
    none; the rest is straight-through. Source: BinaryBERT `transformer/utils_quant.py` L18-145 with `--clip_init_val
    2.5`. It trains the bounds with a learning rate of their own, 1e-4 for GLUE; here they have that of the weights. The
    bounds stay on their sides of zero whatever the optimizer does.

    Args:
        bits: 2 to 8.
        symmetric: see `DynamicQuantizer`.
        initial: first value of both bounds' magnitudes.

    Raises:
        ValueError: bits out of range, or initial not positive.
    """

    name = "learned-clip"
    granularities = ("tensor",)

    def __init__(self, bits: int, symmetric: bool = True, granularity: str = "tensor", initial: float = 2.5) -> None:
        """Check the settings and create the bounds; they are described above."""
        super().__init__(bits, symmetric, granularity)
        if not initial > 0:
            raise ValueError(f"initial is {initial!r}, expected a positive bound")
        self.bounds = nn.Parameter(torch.full((2,), float(initial)))

    def _clipped(self, x: Tensor) -> Tensor:
        low, high = self.bounds.abs().to(x.dtype)
        return torch.clamp(x, -low, high)
