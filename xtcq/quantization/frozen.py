"""Layers that hold integers: what `freeze` turns the fake-quantized layers into."""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.tensor import QuantizedTensor


class _Frozen(nn.Module):
    """Integer weight in the buffers `codes`, `scale` and `zero_point` (None where there is none)."""

    def __init__(self, weight: QuantizedTensor, weight_format: dict[str, object]) -> None:
        super().__init__()
        self.register_buffer("codes", weight.codes)
        self.register_buffer("scale", weight.scale)
        self.register_buffer("zero_point", weight.zero_point)
        self.dtype = weight.dtype
        self.weight_format = weight_format

    @property
    def weight(self) -> Tensor:
        """The weight in floating point, computed anew at every access."""
        return self.quantized_weight().dequantize()

    def quantized_weight(self) -> QuantizedTensor:
        """Return the integer weight."""
        return QuantizedTensor(self.codes, self.scale, self.zero_point, self.dtype)


class FrozenLinear(_Frozen):
    """`QuantLinear` with an integer weight; its output is that of the fake-quantized layer to the bit.

    The input quantizer, the bias and the low-rank term are kept. Memory is saved, time is not: the weight [out, in] is
    turned back into floating point at every call.
    """

    def __init__(
        self,
        weight: QuantizedTensor,
        weight_format: dict[str, object],
        bias: Tensor | None = None,
        input_quantizer: nn.Module | None = None,
        lora_u: Tensor | None = None,
        lora_v: Tensor | None = None,
    ) -> None:
        """Keep the integer weight and everything else that the layer needs."""
        super().__init__(weight, weight_format)
        self.out_features, self.in_features = weight.codes.shape
        self.register_parameter("bias", bias)
        self.register_parameter("lora_u", lora_u)
        self.register_parameter("lora_v", lora_v)
        self.input_quantizer = input_quantizer

    @classmethod
    def from_quantized(cls, layer: QuantLinear) -> Self:
        """Return the integer form of `layer`, sharing its bias, low-rank term and input quantizer."""
        frozen = cls(
            layer.quantized_weight(),
            layer.weight_quantizer.describe(),
            layer.bias,
            layer.input_quantizer,
            layer.lora_u,
            layer.lora_v,
        )
        return frozen.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [..., in_features] to [..., out_features]."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        y = F.linear(x, self.weight, self.bias)
        return y if self.lora_u is None else y + (x @ self.lora_u) @ self.lora_v

    def extra_repr(self) -> str:
        """Return the sizes and the format for `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.weight_format}"


class FrozenEmbedding(_Frozen):
    """`QuantEmbedding` with an integer table; only the rows that are looked up are turned into floating point."""

    def __init__(self, weight: QuantizedTensor, weight_format: dict[str, object]) -> None:
        """Keep the integer table."""
        super().__init__(weight, weight_format)
        self.num_embeddings, self.embedding_dim = weight.codes.shape

    @classmethod
    def from_quantized(cls, layer: QuantEmbedding) -> Self:
        """Return the integer form of `layer`."""
        return cls(layer.quantized_weight(), layer.weight_quantizer.describe()).train(layer.training)

    def forward(self, ids: Tensor) -> Tensor:
        """Map `ids` [...] to rows [..., embedding_dim]."""
        rows = QuantizedTensor(self.codes[ids], _rows(self.scale, ids), _rows(self.zero_point, ids), self.dtype)
        return rows.dequantize()

    def extra_repr(self) -> str:
        """Return the sizes and the format for `repr`."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.weight_format}"


def _rows(values: Tensor | None, ids: Tensor) -> Tensor | None:
    """Pick the rows `ids` of a row-wise tensor [rows, 1]; one value for the whole table stays as it is."""
    return values if values is None or values.dim() == 0 else values[ids]
