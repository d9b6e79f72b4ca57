"""Quantizers whose scale is a closed formula of the data: their common base, one bit, ternary, and dynamic ranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xtcq.checks import check_choice, check_integer, check_positive
from xtcq.quantization.codes import (
    BINARY_CODES,
    TERNARY_CODES,
    CodeFormat,
    QuantizedTensor,
    compute_dtype,
    decode_,
    sign_codes,
)

# How the names of a quantizer's own parameters end. They are scales, not weights: no weight decay, no model size.
LEARNED_SCALES = (".step", ".bounds")


class StraightThrough(torch.autograd.Function):
    """Value of ``quantized``, gradient of the identity: dL/dx = dL/dq.

    It is the rule of DeepSpeed (``deepspeed/compression/utils.py``) and of BinaryBERT's binary quantizer. The gradient
    tensor is handed on as it is, so the backward pass costs nothing.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: Tensor) -> Tensor:
        """Return ``quantized``; ``x`` only takes the gradient."""
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient to ``x``."""
        return grad, None


class Quantizer(nn.Module, ABC):
    """Base of all quantizers.

    ``forward(x)`` fake-quantizes: it returns values of ``x``'s shape and dtype that lie on the quantizer's levels.
    ``quantize(x)`` returns the integer codes behind them, and ``quantizer(x)`` equals
    ``quantizer.quantize(x).dequantize()`` element for element, because both are the same ``encode`` followed by the
    same arithmetic. Half-precision data is computed in float32. NaN and infinity are not hidden: they come out as NaN
    or infinity.

    Args:
        bits: nominal bit-width.
        granularity: ``"tensor"`` for one scale per tensor, ``"row"`` (weights) or ``"token"`` (activations) for one
            scale per vector along the last dimension.
        clip: None for the straight-through rule ``identity`` (DeepSpeed, BinaryBERT); a bound c > 0 for ``clipped``
            (TernaryBERT ``utils_quant.py``): values are clipped to [-c, c] first, and the gradient is zero at and
            outside the bounds.

    Raises:
        ValueError: granularity unknown, or clip not a positive number.

    >>> import torch
    >>> from xtcq import BinaryQuantizer
    >>> quantizer, w = BinaryQuantizer("row"), torch.randn(4, 8)
    >>> torch.equal(quantizer(w), quantizer.quantize(w).dequantize())
    True
    """

    name: str
    granularities: tuple[str, ...] = ("tensor", "row", "token")

    def __init__(self, bits: int, granularity: str = "tensor", clip: float | None = None) -> None:
        super().__init__()
        check_choice(f"granularity of {type(self).__name__}", granularity, self.granularities)
        if clip is not None:
            check_positive("clip", clip, "; use None to leave values unclipped")
        self.bits = bits
        self.granularity = granularity
        self.clip = clip

    @property
    @abstractmethod
    def code_format(self) -> CodeFormat:
        """Which codes there are, and how many bytes they take when packed."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return codes (as floats, freshly allocated), scale and zero point of ``x``, which is not changed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (any shape) on the quantizer's levels, with a straight-through gradient."""
        x = self._clipped(x)
        with torch.no_grad():
            values = decode_(*self.encode(x.to(compute_dtype(x.dtype)))).to(x.dtype)
        return StraightThrough.apply(x, values)

    @torch.no_grad()
    def quantize(self, x: Tensor) -> QuantizedTensor:
        """Return the integer codes of ``x`` (any shape) with their scale."""
        codes, scale, zero_point = self.encode(self._clipped(x).to(compute_dtype(x.dtype)))
        return QuantizedTensor(codes.to(self.code_format.dtype), scale, zero_point, x.dtype)

    def look_up(self, table: Tensor, ids: Tensor, padding_idx: int | None = None) -> Tensor:
        """Return the quantized rows ``ids`` (any shape) of an embedding ``table`` [rows, features]: [*ids, features].

        Row-wise scales commute with the look-up, so only the rows that are asked for are quantized.
        """
        if self.granularity == "tensor":
            return F.embedding(ids, self(table), padding_idx)
        return self(F.embedding(ids, table, padding_idx))

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {"quantizer": self.name, "bits": self.bits, "granularity": self.granularity, "clip": self.clip}

    def extra_repr(self) -> str:
        """Return the settings for ``repr``."""
        return ", ".join(f"{key}={value}" for key, value in self.describe().items() if key != "quantizer")

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.clip is None else F.hardtanh(x, -self.clip, self.clip)

    def _reduce(self, operation: Callable[..., Tensor], x: Tensor) -> Tensor:
        return operation(x) if self.granularity == "tensor" else operation(x, dim=-1, keepdim=True)


class BinaryQuantizer(Quantizer):
    r"""One bit: ``scale * sign(w)`` with ``scale = mean |w|`` over the group.

    .. math:: \hat w = \frac{\lVert w \rVert_1}{n}\,\operatorname{sign}(w), \qquad \operatorname{sign}(0) = +1

    Source: XTC appendix, footnote 6, and BinaryBERT ``transformer/utils_quant.py`` (``BwnQuantizer``). Both references
    use ``torch.sign``, which keeps zeros as a third value; here both zeros become +scale. An all-zero group gives
    zeros. Arguments and errors are those of ``Quantizer``.

    >>> import torch
    >>> from xtcq import BinaryQuantizer
    >>> BinaryQuantizer()(torch.tensor([0.5, -1.5, 1.0, 0.0]))
    tensor([ 0.7500, -0.7500,  0.7500,  0.7500])
    """

    name = "binary"
    code_format = BINARY_CODES

    def __init__(self, granularity: str = "tensor", clip: float | None = None) -> None:
        super().__init__(1, granularity, clip)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return codes -1 and +1 and the mean magnitude."""
        return sign_codes(x), self._reduce(torch.mean, x.abs()), None


class MedianBinaryQuantizer(BinaryQuantizer):
    """One bit with ``scale = median |w|`` over the group, which a few large weights do not move.

    Source: Nielsen and Schneider-Kamp 2024 (arXiv 2407.09527), who take the median in place of the mean for ternary
    weights of small networks; here it is tried at one bit. The mean is nearer to the weights in the sum of squares. Of
    an even number of magnitudes it is the lower of the two in the middle (``torch.median``). Arguments and errors are
    those of ``Quantizer``.

    >>> import torch
    >>> from xtcq import MedianBinaryQuantizer
    >>> MedianBinaryQuantizer()(torch.tensor([0.5, -9.0, 1.0]))
    tensor([ 1., -1.,  1.])
    """

    name = "binary-median"

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return codes -1 and +1 and the median magnitude."""
        magnitude = x.abs()
        # A median passes over an infinity; nothing times it is NaN.
        return sign_codes(x), self._reduce(_median, magnitude) + 0 * self._reduce(torch.sum, magnitude), None


def _median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return x.median() if dim is None else x.median(dim, keepdim).values


class TernaryQuantizer(Quantizer):
    r"""Three levels (called "2 bits" in XTC and TernaryBERT): -scale, 0, +scale.

    .. math:: t = 0.7\,\frac{\lVert w \rVert_1}{n}, \qquad
       \alpha = \frac{\sum_{|w_i| > t} |w_i|}{\#\{i : |w_i| > t\}}, \qquad
       \hat w_i = \alpha\,\operatorname{sign}(w_i)\,[\,|w_i| > t\,]

    Source: ternary weight networks as in DeepSpeed ``deepspeed/compression/utils.py`` (``TernaryQuantizer``) and
    TernaryBERT ``transformer/utils_quant.py`` (``TwnQuantizer``). Both give NaN for an all-zero group; here its scale
    and its codes are 0. Arguments and errors are those of ``Quantizer``.

    >>> import torch
    >>> from xtcq import TernaryQuantizer
    >>> TernaryQuantizer()(torch.tensor([0.1, -1.0, 2.0, 0.5]))
    tensor([ 0.0000, -1.5000,  1.5000,  0.0000])
    """

    name = "ternary"
    code_format = TERNARY_CODES

    def __init__(self, granularity: str = "tensor", clip: float | None = None) -> None:
        super().__init__(2, granularity, clip)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return codes -1, 0 and +1 and the mean magnitude above the threshold."""
        magnitude = x.abs()
        threshold = 0.7 * self._reduce(torch.mean, magnitude)
        # A float mask: products and sums with it are vectorised, boolean indexing is not.
        above = torch.gt(magnitude, threshold, out=torch.empty_like(magnitude))
        total = self._reduce(torch.sum, magnitude.mul_(above))
        scale = total / self._reduce(torch.sum, above).clamp_min(1)
        return above.copysign_(x), scale, None


class DynamicQuantizer(Quantizer):
    r"""Uniform levels between the extremes of the group, measured anew at every call.

    Symmetric, with :math:`Q = 2^{b-1} - 1` levels on each side of zero (TernaryBERT ``SymQuantizer``):

    .. math:: s = \max|x| / Q, \qquad \hat x = s \operatorname{round}(x / s)

    Asymmetric, with :math:`2^b - 1` steps from the least to the greatest value (TernaryBERT ``AsymQuantizer``):

    .. math:: s = (\max x - \min x) / (2^b - 1), \qquad
       \hat x = s\,(\operatorname{round}((x - \min x) / s) - z), \qquad z = -\min x / s

    The zero point z is a real number, so that the least value is met exactly. DeepSpeed's quantizers of the same names
    divide by 2^b instead and clip the greatest value by a step. All-zero and constant groups come back as they are
    (the references give NaN).

    Args:
        bits: 2 to 8; all other arguments and errors are those of ``Quantizer``.
        symmetric: which of the two formulas.

    >>> import torch
    >>> from xtcq import DynamicQuantizer
    >>> quantized = DynamicQuantizer(8, granularity="token").quantize(torch.tensor([[1.0, -2.0], [0.0, 0.5]]))
    >>> quantized.codes
    tensor([[  64, -127],
            [   0,  127]], dtype=torch.int8)
    >>> quantized.scale.shape
    torch.Size([2, 1])
    """

    name = "dynamic"

    def __init__(
        self, bits: int, symmetric: bool = True, granularity: str = "tensor", clip: float | None = None
    ) -> None:
        check_integer("bits", bits, 2, 8, remedy="; for one bit use BinaryQuantizer" if bits == 1 else "")
        super().__init__(bits, granularity, clip)
        self.symmetric = symmetric

    @property
    def code_format(self) -> CodeFormat:
        """All integers of ``bits`` bits, signed if symmetric."""
        return CodeFormat.integers(self.bits, self.symmetric)

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

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {**super().describe(), "symmetric": self.symmetric}
