"""What BinaryBERT adds: one ternary matrix becomes the sum of two binary ones, and activations learn their clips."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from xtcq.checks import check_positive
from xtcq.quantization.layers import QuantEmbedding, QuantizedLayer, QuantLinear
from xtcq.quantization.quantizers import BinaryQuantizer, DynamicQuantizer, Quantizer, TernaryQuantizer


@torch.no_grad()
def split_ternary(weight: Tensor, granularity: str = "tensor") -> tuple[Tensor, Tensor]:
    r"""Split latent weights so that the binary halves add up to the ternary weight, and the latent ones to the latent.

    With I the places where the ternary weight is not zero, J the others, n their number, :math:`\alpha` the ternary
    scale, and :math:`J_+, J_-` the places of J with positive and other values:

    .. math::
       v = \frac{n \alpha - \sum |w|}{2 |J|}, \qquad
       m = \frac{\sum_I |w| + \sum_{J_-} |w| - \sum_{J_+} |w|}{2 \sum_I |w|}

       w_1 = \begin{cases} m w & I \\ w + v & J_+ \\ v & J_- \end{cases} \qquad w_2 = w - w_1

    Both halves then have the mean magnitude :math:`\alpha / 2`, equal signs in I and opposite ones in J. Source:
    BinaryBERT ``transformer/binary_model_init.py`` L24-151, computed in double precision as there. Where a group's
    small weights nearly all have one sign, m would leave [0, 1] and turn signs round; it is kept inside, and the sum of
    that group's binary halves is then only close to the ternary weight.

    Args:
        weight: [rows, columns].
        granularity: ``"tensor"`` for one scale, ``"row"`` for one a row.

    Returns:
        The two latent halves, in ``weight``'s dtype.

    >>> import torch
    >>> from xtcq import BinaryQuantizer, TernaryQuantizer, split_ternary
    >>> w, binary = torch.randn(6, 50), BinaryQuantizer()
    >>> first, second = split_ternary(w)
    >>> torch.allclose(binary(first) + binary(second), TernaryQuantizer()(w), atol=1e-6)
    True
    """
    w = weight.double()
    codes, alpha, _ = TernaryQuantizer(granularity).encode(w)
    zero = (codes == 0).double()
    positive = zero * (w > 0)
    magnitude = w.abs()

    def total(values: Tensor) -> Tensor:
        return values.sum() if granularity == "tensor" else values.sum(-1, keepdim=True)

    inside, outside = total(magnitude * (1 - zero)), total(zero)
    size = total(torch.ones_like(w))
    v = (alpha * size - total(magnitude)) / (2 * outside.clamp_min(1))
    excess = total(magnitude * (zero - positive)) - total(magnitude * positive)
    # An all-zero group has nothing inside: any share will do.
    m = (0.5 + excess / (2 * inside).clamp_min(torch.finfo(w.dtype).tiny)).clamp(0, 1)
    first = torch.where(zero > 0, positive * w + v, m * w)
    return first.to(weight.dtype), (w - first).to(weight.dtype)


class SplitLayer(QuantizedLayer):
    """Two binary layers on one input, added up: BinaryBERT's ``dense_1(x) + dense_2(x)``, or two tables.

    Args:
        first: linear layer with the bias, or one half of a table.
        second: linear layer without, or the other half.
        input_quantizer: of a linear layer's input [..., in]; None for a table.

    >>> import torch
    >>> from xtcq import SplitLayer
    >>> layer = SplitLayer.from_float(torch.nn.Linear(16, 4))
    >>> layer.bits, layer.numel, layer(torch.ones(2, 16)).shape
    (1, 128, torch.Size([2, 4]))
    """

    kind = "split"
    weight_quantizer = None  # the halves have theirs

    def __init__(self, first: QuantizedLayer, second: QuantizedLayer, input_quantizer: Quantizer | None = None) -> None:
        super().__init__()
        self.first, self.second, self.input_quantizer = first, second, input_quantizer

    @classmethod
    def from_float(
        cls, layer: nn.Linear | nn.Embedding, granularity: str = "tensor", input_quantizer: Quantizer | None = None
    ) -> Self:
        """Split the ternary form of a layer; its weight is copied into two, its bias is shared."""
        kind: Any = QuantEmbedding if isinstance(layer, nn.Embedding) else QuantLinear
        first, second = (kind.from_float(layer, BinaryQuantizer(granularity)) for _ in range(2))
        first.weight, second.weight = map(nn.Parameter, split_ternary(layer.weight, granularity))
        if kind is QuantLinear:
            second.register_parameter("bias", None)
        return cls(first, second, input_quantizer).train(layer.training)

    @property
    def is_frozen(self) -> bool:
        """Whether both halves are held as integers."""
        return self.first.is_frozen

    @property
    def bits(self) -> int:
        """Bits of each of the two weights."""
        return self.first.bits

    @property
    def input_bits(self) -> int:
        """Bits of the input that both halves share."""
        return self.first.input_bits if self.input_quantizer is None else self.input_quantizer.bits

    @property
    def numel(self) -> int:
        """Number of weights of both halves."""
        return self.first.numel + self.second.numel

    @property
    def packed_bytes(self) -> int:
        """Bytes of the codes of both halves, each filled up to a whole byte."""
        return self.first.packed_bytes + self.second.packed_bytes

    @property
    def scales(self) -> int:
        """Number of scales of both halves."""
        return self.first.scales + self.second.scales

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` [..., in_features] to [..., out_features], or ids [...] to rows [..., embedding_dim]."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        return self.first(x) + self.second(x)

    def freeze(self) -> Self:
        """Freeze both halves in place, and return the layer."""
        self.first.freeze(), self.second.freeze()
        return self

    def describe(self) -> dict[str, Any]:
        """Return the layer's entry in ``quantization_map``, where the halves have entries of their own."""
        inputs = None if self.input_quantizer is None else self.input_quantizer.describe()
        return {"kind": self.kind, "frozen": False, "input": inputs}


class LearnedClipQuantizer(DynamicQuantizer):
    r"""Clip to learned bounds, then ``DynamicQuantizer``'s levels over what is left, with one scale per tensor.

    .. math:: y = \min(\max(x, -|\beta_0|), |\beta_1|), \qquad \hat x = \operatorname{dynamic}(y)

    The gradient of a bound is the sum of the gradients over the values that it clips, as in PACT, and those values get
    none; the rest is straight-through. Source: BinaryBERT ``transformer/utils_quant.py`` L18-145 with
    ``--clip_init_val 2.5``. It trains the bounds with a learning rate of their own, 1e-4 for GLUE; here they have that
    of the weights. The bounds stay on their sides of zero whatever the optimizer does.

    Args:
        bits: 2 to 8.
        symmetric: as in ``DynamicQuantizer``.
        initial: first value of both bounds' magnitudes.

    Raises:
        ValueError: bits out of range, or initial not positive.

    >>> import torch
    >>> from xtcq import LearnedClipQuantizer
    >>> quantizer = LearnedClipQuantizer(8, initial=1.0)
    >>> quantizer(torch.tensor([0.0, 1.0, 30.0])).sum().backward()
    >>> quantizer.bounds.grad  # of the two values at 1 and above, one is clipped
    tensor([-0., 1.])
    """

    name = "learned-clip"

    def __init__(self, bits: int, symmetric: bool = True, initial: float = 2.5) -> None:
        super().__init__(bits, symmetric)
        self.bounds = nn.Parameter(torch.full((2,), check_positive("initial", initial)))

    def _clipped(self, x: Tensor) -> Tensor:
        low, high = self.bounds.abs().to(x.dtype)
        return torch.clamp(x, -low, high)
