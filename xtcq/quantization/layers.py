"""Linear and embedding layers that fake-quantize in training."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xtcq.quantization.quantizers import Quantizer
from xtcq.quantization.tensor import QuantizedTensor


class QuantLinear(nn.Linear):
    """`nn.Linear` with quantized input and weight, and an optional low-rank term in full precision.

    With x~ and W~ the quantized input and weight, y = x~ W~^T + b + (x~ U) V: the effective weight is W~ + (U V)^T of
    XTC's equation 2, and the low-rank term sees the input that the quantized weight sees. V starts at zero, so adding
    the term does not change the first output; U starts uniform in +-1/sqrt(in_features). The paper leaves the start
    open. The bias stays in floating point. The state-dict keys `weight` and `bias` are those of `nn.Linear`.

    Args:
        in_features: size of the input's last dimension.
        out_features: size of the output's last dimension.
        bias: whether there is a bias.
        weight_quantizer: quantizer of the weight [out, in], or None to leave it in floating point.
        input_quantizer: quantizer of the input [..., in], or None.
        lora_rank: rank r of `lora_u` [in, r] and `lora_v` [r, out]; 0 for none.
        device: as in `nn.Linear`.
        dtype: as in `nn.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_quantizer: Quantizer | None = None,
        input_quantizer: Quantizer | None = None,
        lora_rank: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Build the layer; the arguments are described above."""
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.weight_quantizer = weight_quantizer
        self.input_quantizer = input_quantizer
        self.register_parameter("lora_u", None)
        self.register_parameter("lora_v", None)
        if lora_rank:
            self._add_low_rank(lora_rank)

    @classmethod
    def from_float(
        cls,
        linear: nn.Linear,
        weight_quantizer: Quantizer | None = None,
        input_quantizer: Quantizer | None = None,
        lora_rank: int = 0,
    ) -> Self:
        """Return a quantized layer that shares `linear`'s parameters."""
        layer = cls(
            linear.in_features,
            linear.out_features,
            bias=False,
            weight_quantizer=weight_quantizer,
            input_quantizer=input_quantizer,
            device="meta",  # allocates nothing: the weight is replaced at once
        )
        layer.weight, layer.bias = linear.weight, linear.bias
        if lora_rank:
            layer._add_low_rank(lora_rank)
        return layer.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [..., in_features] to [..., out_features]."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        y = F.linear(x, weight, self.bias)
        return y if self.lora_u is None else y + (x @ self.lora_u) @ self.lora_v

    def quantized_weight(self) -> QuantizedTensor:
        """Return the weight [out, in] as integer codes; `weight_quantizer` must not be None."""
        return self.weight_quantizer.quantize(self.weight)

    def _add_low_rank(self, rank: int) -> None:
        like = {"device": self.weight.device, "dtype": self.weight.dtype}
        bound = self.in_features**-0.5
        self.lora_u = nn.Parameter(torch.empty(self.in_features, rank, **like).uniform_(-bound, bound))
        self.lora_v = nn.Parameter(torch.zeros(rank, self.out_features, **like))


class QuantEmbedding(nn.Embedding):
    """`nn.Embedding` that quantizes its table; only the rows that are looked up, wherever the scales allow it.

    The state-dict key `weight` is that of `nn.Embedding`.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of a row.
        padding_idx: as in `nn.Embedding`.
        weight_quantizer: quantizer of the table [num_embeddings, embedding_dim].
        device: as in `nn.Embedding`.
        dtype: as in `nn.Embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        weight_quantizer: Quantizer,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Build the layer; the arguments are described above."""
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.weight_quantizer = weight_quantizer

    @classmethod
    def from_float(cls, embedding: nn.Embedding, weight_quantizer: Quantizer) -> Self:
        """Return a quantized layer that shares `embedding`'s table.

        Raises:
            ValueError: the embedding renormalises rows (`max_norm`) or has sparse gradients.
        """
        if embedding.max_norm is not None or embedding.sparse or embedding.scale_grad_by_freq:
            raise ValueError(
                f"{embedding} uses max_norm, sparse or scale_grad_by_freq, which QuantEmbedding does not have: "
                "build the embedding without them"
            )
        layer = cls(
            embedding.num_embeddings,
            embedding.embedding_dim,
            embedding.padding_idx,
            weight_quantizer=weight_quantizer,
            device="meta",  # allocates nothing: the table is replaced at once
        )
        layer.weight = embedding.weight
        return layer.train(embedding.training)

    def forward(self, ids: Tensor) -> Tensor:
        """Map `ids` [...] to rows [..., embedding_dim]."""
        return self.weight_quantizer.look_up(self.weight, ids, self.padding_idx)

    def quantized_weight(self) -> QuantizedTensor:
        """Return the table [num_embeddings, embedding_dim] as integer codes."""
        return self.weight_quantizer.quantize(self.weight)
