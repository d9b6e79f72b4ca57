"""Ternary weight splitting: one ternary matrix becomes the sum of two binary ones (BinaryBERT)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.quantizers import BinaryQuantizer, Quantizer, TernaryQuantizer


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
    BinaryBERT `transformer/binary_model_init.py` L24-151, computed in double precision as there. Where a group's small
    weights nearly all have one sign, m would leave [0, 1] and turn signs round; it is kept inside, and the sum of that
    group's binary halves is then only close to the ternary weight.

    Args:
        weight: [rows, columns].
        granularity: "tensor" for one scale, "row" for one a row.

    Returns:
        The two latent halves, in `weight`'s dtype.
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


class SplitLinear(nn.Module):
    """Two binary linear layers on one quantized input, added up: BinaryBERT's `dense_1(x) + dense_2(x)`.

    Attributes:
        first: layer with the bias.
        second: layer without.
        input_quantizer: of the input [..., in], or None.
    """

    def __init__(self, first: nn.Module, second: nn.Module, input_quantizer: Quantizer | None = None) -> None:
        super().__init__()
        self.first, self.second, self.input_quantizer = first, second, input_quantizer

    @classmethod
    def from_float(cls, linear: nn.Linear, input_quantizer: Quantizer | None = None) -> Self:
        """Split the ternary form of a linear layer; its weight is copied into two, its bias is shared."""
        halves = []
        for weight in split_ternary(linear.weight):
            half = QuantLinear.from_float(linear, BinaryQuantizer())
            half.weight = nn.Parameter(weight)
            halves.append(half)
        halves[1].bias = None
        return cls(*halves, input_quantizer).train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [..., in_features] to [..., out_features]."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        return self.first(x) + self.second(x)


class SplitEmbedding(nn.Module):
    """Two binary embedding tables, added up.

    Attributes:
        first: one half.
        second: the other.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    @classmethod
    def from_float(cls, embedding: nn.Embedding, granularity: str) -> Self:
        """Split the ternary form of a table, which is copied into two."""
        halves = []
        for weight in split_ternary(embedding.weight, granularity):
            half = QuantEmbedding.from_float(embedding, BinaryQuantizer(granularity))
            half.weight = nn.Parameter(weight)
            halves.append(half)
        return cls(*halves).train(embedding.training)

    def forward(self, ids: Tensor) -> Tensor:
        """Map `ids` [...] to rows [..., embedding_dim]."""
        return self.first(ids) + self.second(ids)
