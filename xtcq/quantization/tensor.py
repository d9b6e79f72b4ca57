"""Integer codes with their scale, and the arithmetic that every quantizer shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype in which scales and codes are computed: float64 for float64, float32 for everything shorter."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def sign_codes(x: Tensor) -> Tensor:
    """Codes -1.0 and +1.0 of `x`, where both zeros count as positive (`torch.sign` would add a third level)."""
    # Writing the comparison straight into a float tensor is vectorised on CPU; a boolean result is four times slower.
    return torch.ge(x, 0, out=torch.empty_like(x)).mul_(2).sub_(1)


def decode_(codes: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """Turn floating-point `codes` into values, in place: `(codes - zero_point) * scale`."""
    if zero_point is not None:
        codes.sub_(zero_point)
    return codes.mul_(scale)


@dataclass(frozen=True)
class QuantizedTensor:
    """Integer codes and what turns them back into values.

    Attributes:
        codes: integer tensor (int8, or uint8 where codes exceed 127), of the shape of the quantized tensor.
        scale: float32 (float64 for float64 data), zero-dimensional for one scale per tensor, `[..., 1]` for one scale
            per row or per token.
        zero_point: real number of `scale`'s shape that is subtracted from the codes, or None where it is zero.
        dtype: dtype that `dequantize` returns.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def dequantize(self) -> Tensor:
        """Return `(codes - zero_point) * scale`, computed in the scale's dtype and cast to `dtype` at the end."""
        return decode_(self.codes.to(self.scale.dtype), self.scale, self.zero_point).to(self.dtype)
