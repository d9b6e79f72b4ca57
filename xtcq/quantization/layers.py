"""Linear layers and tables with quantized weights: fake-quantized while they are trained, integers once frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xtcq.quantization.codes import CodeFormat, QuantizedTensor
from xtcq.quantization.precision import FLOAT_BITS
from xtcq.quantization.quantizers import Quantizer


class QuantizedLayer(nn.Module):
    """What every layer with quantized weights knows of itself; freezing, costs, widths and packing ask for no more.

    Its weight [rows, columns] is the parameter ``weight`` with its quantizer, or integers once frozen: the buffers
    ``codes`` and ``scale`` take the place of both. Freezing saves memory, not time: at every call the codes are turned
    back into floating point.

    Attributes:
        kind: "linear", "embedding", or "split" for one whose weight is the sum of two.
        dtype: of the frozen weight, once it is turned back.
    """

    kind: str
    weight: Tensor
    weight_quantizer: Quantizer | None
    codes: Tensor
    scale: Tensor
    dtype: torch.dtype
    _frozen_formats: tuple[dict[str, Any], CodeFormat] | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether the weight is held as integers."""
        return self._frozen_formats is not None

    @property
    def weight_format(self) -> dict[str, Any] | None:
        """Settings of the weight's quantizer, see ``Quantizer.describe``; None for a weight in floating point."""
        if self._frozen_formats is not None:
            return self._frozen_formats[0]
        return None if self.weight_quantizer is None else self.weight_quantizer.describe()

    @property
    def code_format(self) -> CodeFormat | None:
        """Which codes the weight has; None for a weight in floating point."""
        if self._frozen_formats is not None:
            return self._frozen_formats[1]
        return None if self.weight_quantizer is None else self.weight_quantizer.code_format

    @property
    def bits(self) -> int:
        """Bits of a weight; 32 in floating point."""
        return FLOAT_BITS if self.code_format is None else self.code_format.bits

    @property
    def input_bits(self) -> int:
        """Bits of what a weight is multiplied by; 0 for a table, whose rows are only looked up."""
        return 0

    @property
    def numel(self) -> int:
        """Number of weights."""
        return (self.codes if self.is_frozen else self.weight).numel()

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed codes; 0 for a weight in floating point, which has none."""
        return 0 if self.code_format is None else self.code_format.packed_bytes(self.numel)

    @property
    def scales(self) -> int:
        """Number of scales."""
        described = self.weight_format
        if described is None:
            return 0
        rows = len(self.codes if self.is_frozen else self.weight)
        return 1 if described["granularity"] == "tensor" else rows

    def quantized_weight(self) -> QuantizedTensor:
        """Return the weight as integer codes.

        Raises:
            ValueError: it is in floating point.
        """
        if self.is_frozen:
            return QuantizedTensor(self.codes, self.scale, dtype=self.dtype)
        if self.weight_quantizer is None:
            raise ValueError(f"{self} has a weight in floating point, and so no codes: give it a weight_quantizer")
        return self.weight_quantizer.quantize(self.weight)

    def freeze(self) -> Self:
        """Hold the weight as integers, in place; one that is in floating point stays. Outputs are equal to the bit.

        Raises:
            ValueError: the codes of the weight have a zero point.
        """
        if self.weight_quantizer is not None:
            weight = self.quantized_weight()
            if weight.zero_point is not None:
                raise ValueError(f"{self} has codes with a zero point, and files have none: use a symmetric quantizer")
            self._frozen_formats = self.weight_quantizer.describe(), self.weight_quantizer.code_format
            self.weight_quantizer, self.dtype = None, weight.dtype
            del self.weight
            self.register_buffer("codes", weight.codes)
            self.register_buffer("scale", weight.scale)
        return self

    def describe(self) -> dict[str, Any]:
        """Return the layer's entry in ``quantization_map``."""
        return {"kind": self.kind, "frozen": self.is_frozen, "weight": self.weight_format}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow ``half()``, ``double()`` and their like, which change a frozen layer's scales and not its codes."""
        super()._apply(fn, recurse)
        if self.is_frozen and "scale" in self._buffers:
            self.dtype = fn(self.scale.new_empty(0, dtype=self.dtype)).dtype
        return self


class QuantLinear(QuantizedLayer, nn.Linear):
    """``nn.Linear`` with quantized input and weight, and an optional low-rank term in full precision.

    With x~ and W~ the quantized input and weight, y = x~ W~^T + b + (x~ U) V: the effective weight is W~ + (U V)^T of
    XTC's equation 2, and the low-rank term sees the input that the quantized weight sees. V starts at zero, so adding
    the term does not change the first output; U starts uniform in +-1/sqrt(in_features). The paper leaves the start
    open. The bias stays in floating point. The state-dict keys ``weight`` and ``bias`` are those of ``nn.Linear``.

    Args:
        in_features: size of the input's last dimension.
        out_features: size of the output's last dimension.
        bias: whether there is a bias.
        weight_quantizer: quantizer of the weight [out, in], or None to leave it in floating point.
        input_quantizer: quantizer of the input [..., in], or None.
        lora_rank: rank r of ``lora_u`` [in, r] and ``lora_v`` [r, out]; 0 for none.
        device: as in ``nn.Linear``.
        dtype: as in ``nn.Linear``.

    >>> import torch
    >>> from xtcq import BinaryQuantizer, DynamicQuantizer, QuantLinear
    >>> layer = QuantLinear(8, 3, weight_quantizer=BinaryQuantizer(), input_quantizer=DynamicQuantizer(8))
    >>> layer.bits, layer.input_bits, layer.packed_bytes
    (1, 8, 3)
    >>> x = torch.randn(5, 8)
    >>> y = layer(x)
    >>> torch.equal(layer.freeze()(x), y), layer.codes.dtype
    (True, torch.int8)
    """

    kind = "linear"

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
        """Return a quantized layer that shares ``linear``'s parameters."""
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

    @property
    def input_bits(self) -> int:
        """Bits of the input; 32 in floating point."""
        return FLOAT_BITS if self.input_quantizer is None else self.input_quantizer.bits

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` [..., in_features] to [..., out_features]."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        if self.is_frozen:
            weight = self.quantized_weight().dequantize()
        else:
            weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        y = F.linear(x, weight, self.bias)
        return y if self.lora_u is None else y + (x @ self.lora_u) @ self.lora_v

    def describe(self) -> dict[str, Any]:
        """Return the layer's entry in ``quantization_map``."""
        inputs = None if self.input_quantizer is None else self.input_quantizer.describe()
        return {**super().describe(), "input": inputs, "lora_rank": 0 if self.lora_u is None else self.lora_u.shape[1]}

    def _add_low_rank(self, rank: int) -> None:
        bound = self.in_features**-0.5
        self.lora_u = nn.Parameter(self.weight.new_empty(self.in_features, rank).uniform_(-bound, bound))
        self.lora_v = nn.Parameter(self.weight.new_zeros(rank, self.out_features))


class QuantEmbedding(QuantizedLayer, nn.Embedding):  # type: ignore[misc]  # which annotates a `freeze` it has not
    """``nn.Embedding`` that quantizes its table; only the rows that are looked up, wherever the scales allow it.

    The state-dict key ``weight`` is that of ``nn.Embedding``.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of a row.
        padding_idx: as in ``nn.Embedding``.
        weight_quantizer: quantizer of the table [num_embeddings, embedding_dim].
        device: as in ``nn.Embedding``.
        dtype: as in ``nn.Embedding``.

    >>> import torch
    >>> from xtcq import QuantEmbedding, TernaryQuantizer
    >>> table = QuantEmbedding(10, 8, weight_quantizer=TernaryQuantizer("row"))
    >>> table(torch.tensor([[3, 3, 7]])).shape, table.scales
    (torch.Size([1, 3, 8]), 10)
    """

    kind = "embedding"

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
        super().__init__(num_embeddings, embedding_dim, padding_idx, device=device, dtype=dtype)
        self.weight_quantizer = weight_quantizer

    @classmethod
    def from_float(cls, embedding: nn.Embedding, weight_quantizer: Quantizer) -> Self:
        """Return a quantized layer that shares ``embedding``'s table.

        Raises:
            ValueError: the embedding renormalises rows (``max_norm``) or has sparse gradients.
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
        """Map ``ids`` [...] to rows [..., embedding_dim]."""
        if self.weight_quantizer is not None:
            return self.weight_quantizer.look_up(self.weight, ids, self.padding_idx)
        # One value for the whole table stays as it is; of [rows, 1] those of the ids are taken.
        scale = self.scale if self.scale.dim() == 0 else self.scale[ids]
        return QuantizedTensor(self.codes[ids], scale, dtype=self.dtype).dequantize()
