"""Uniform quantizer whose range follows the data at every call."""

from __future__ import annotations

import torch
from torch import Tensor

from xtcq.quantization.quantizers import Quantizer


class DynamicQuantizer(Quantizer):
    r"""Uniform levels between the extremes of the group, measured anew at every call.

    Symmetric, with :math:`Q = 2^{b-1} - 1` levels on each side of zero (TernaryBERT `SymQuantizer`):

    .. math:: s = \max|x| / Q, \qquad \hat x = s \operatorname{round}(x / s)

    Asymmetric, with :math:`2^b - 1` steps from the least to the greatest value (TernaryBERT `AsymQuantizer`):

    .. math:: s = (\max x - \min x) / (2^b - 1), \qquad
       \hat x = s\,(\operatorname{round}((x - \min x) / s) - z), \qquad z = -\min x / s

    The zero point z is a real number, so that the least value is met exactly. DeepSpeed's quantizers of the same names
    divide by 2^b instead and clip the greatest value by a step. All-zero and constant groups come back as they are
    (the references give NaN).

    Args:
        bits: 2 to 8.
        symmetric: which of the two formulas.
        granularity: "tensor", or "token" / "row" for one scale per vector along the last dimension.
        clip: see `Quantizer`.

    Raises:
        ValueError: bits out of range, granularity unknown, or clip not positive.
    """

    name = "dynamic"

    def __init__(
        self, bits: int, symmetric: bool = True, granularity: str = "tensor", clip: float | None = None
    ) -> None:
        """Check the settings; they are described above."""
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
            hint = "; for one bit use BinaryQuantizer" if bits == 1 else ""
            raise ValueError(f"bits is {bits!r}, DynamicQuantizer expects an integer from 2 to 8{hint}")
        super().__init__(bits, granularity, clip)
        self.symmetric = symmetric

    @property
    def code_dtype(self) -> torch.dtype:
        """Integer dtype that holds every code: uint8 for eight asymmetric bits, else int8."""
        return torch.uint8 if not self.symmetric and self.bits == 8 else torch.int8

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the rounded codes, the scale and, where asymmetric, the zero point."""
        # Scales never fall below the smallest normal number: zeros divide to zero, and no quotient passes the range.
        tiny = torch.finfo(x.dtype).tiny
        low, high = self._reduce(torch.amin, x), self._reduce(torch.amax, x)
        if self.symmetric:
            # Two reductions write nothing; a buffer of |x| would be as large as x.
            scale = (torch.maximum(high, -low) / (2 ** (self.bits - 1) - 1)).clamp_min(tiny)
            return (x / scale).round_(), scale, None
        # Below one unit in the last place of the data a scale would be noise; eps is a power of two, so the zero point
        # of a constant group is exact.
        resolution = torch.finfo(x.dtype).eps * torch.maximum(low.abs(), high.abs())
        scale = torch.maximum((high - low) / (2**self.bits - 1), resolution).clamp_min(tiny)
        return (x - low).div_(scale).round_(), scale, -low / scale

    def describe(self) -> dict[str, object]:
        """Return the settings as JSON-able values."""
        return {**super().describe(), "symmetric": self.symmetric}
