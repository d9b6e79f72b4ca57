"""Integer codes with their scale, the arithmetic that every quantizer shares, and the room that codes take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Five trits are one byte, because 3^5 = 243 <= 256: 1.6 bits a trit, where log2(3) = 1.585 is the bound.
TRITS_PER_BYTE = 5


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype in which scales and codes are computed: float64 for float64, float32 for everything shorter."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def sign_codes(x: Tensor) -> Tensor:
    """Codes -1.0 and +1.0 of ``x``, where both zeros count as positive (``torch.sign`` would add a third level)."""
    # Writing the comparison straight into a float tensor is vectorised on CPU; a boolean result is four times slower.
    return torch.ge(x, 0, out=torch.empty_like(x)).mul_(2).sub_(1)


def decode_(codes: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """Turn floating-point ``codes`` into values, in place: ``(codes - zero_point) * scale``."""
    if zero_point is not None:
        codes.sub_(zero_point)
    return codes.mul_(scale)


@dataclass(frozen=True)
class QuantizedTensor:
    """Integer codes and what turns them back into values.

    Attributes:
        codes: integer tensor (int8, or uint8 where codes exceed 127), of the shape of the quantized tensor.
        scale: float32 (float64 for float64 data), zero-dimensional for one scale per tensor, ``[..., 1]`` for one scale
            per row or per token.
        zero_point: real number of ``scale``'s shape that is subtracted from the codes, or None where it is zero.
        dtype: dtype that ``dequantize`` returns.

    >>> import torch
    >>> from xtcq import QuantizedTensor
    >>> QuantizedTensor(torch.tensor([-1, 1, 0], dtype=torch.int8), torch.tensor(0.5)).dequantize()
    tensor([-0.5000,  0.5000,  0.0000])
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def dequantize(self) -> Tensor:
        """Return ``(codes - zero_point) * scale``, computed in the scale's dtype and cast to ``dtype`` at the end."""
        return decode_(self.codes.to(self.scale.dtype), self.scale, self.zero_point).to(self.dtype)


@dataclass(frozen=True)
class CodeFormat:
    """Which codes a quantizer gives, and how a file holds them: as digits (code - least) / stride.

    This is the one rule of how many bytes codes take; ``model_size`` counts by it, and ``xtcq.packing`` writes by it.

    Attributes:
        bits: of a digit; 2 for ternary codes, whose digits are trits.
        least: least code, stored as 0.
        stride: distance of neighbouring codes; 2 for one bit, whose codes are -1 and +1.
        ternary: digits are packed five to a byte instead of bit by bit.
    """

    bits: int
    least: int
    stride: int = 1
    ternary: bool = False

    @classmethod
    def integers(cls, bits: int, signed: bool) -> Self:
        """Return the format of all integers of ``bits`` bits, in two's complement if ``signed``."""
        return cls(bits, -(2 ** (bits - 1)) if signed else 0)

    @property
    def most(self) -> int:
        """Greatest code that can be stored."""
        return self.least + self.stride * (2 if self.ternary else 2**self.bits - 1)

    @property
    def dtype(self) -> torch.dtype:
        """Integer dtype that holds every code."""
        return torch.uint8 if self.most > 127 else torch.int8

    def packed_bytes(self, count: int) -> int:
        """Return the number of bytes that ``count`` codes take; the last one is filled up."""
        return -(-count // TRITS_PER_BYTE) if self.ternary else -(-count * self.bits // 8)


BINARY_CODES = CodeFormat(1, -1, stride=2)
TERNARY_CODES = CodeFormat(2, -1, ternary=True)
