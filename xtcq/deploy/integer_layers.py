"""Linear layers and embedding tables with integer weights in an ONNX graph."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from xtcq.deploy.activations import QuantizedActivation, dequantize, quantize_activation
from xtcq.deploy.graph import Graph
from xtcq.packing.bits import pack_bits, pack_codes, unpack_codes
from xtcq.quantization import CodeFormat, QuantEmbedding, QuantizedLayer, Quantizer, QuantLinear

_ONE = np.float32(1)
# A processor without a dot product of bytes adds two products of an unsigned and a signed byte in 16 bits, and
# 2 * 255 * 64 is the most that fits. Greater codes are stored as unsigned bytes, which take another path there.
_SAFE = 64
# Of the block sizes that onnxruntime takes for 2 bits, 32, 64 and 128 have fast kernels.
_BLOCK = 64
_FULL = 127
_ZERO_DIGIT = 2
_LAST = np.array([-1])


class IntegerLayers:
    """Appends the layers of a frozen model to a graph.

    An input that several layers quantize in the same way, such as that of query, key and value with one scale per
    token, is quantized once.
    """

    def __init__(self, graph: Graph, two_bits: bool = False) -> None:
        """Take the graph, and whether weights take two bits wherever that is exact, instead of eight."""
        self._graph = graph
        self._two_bits = two_bits
        self._inputs: dict[tuple[str, str], QuantizedActivation] = {}

    def linear(self, layer: nn.Linear, x: str) -> tuple[str, np.ndarray]:
        """Append a linear layer without its bias, which the operator that follows can often add on the way.

        Args:
            layer: frozen, or in floating point with or without a quantized input.
            x: [..., in_features].

        Returns:
            [..., out_features], and the bias [out_features].

        Raises:
            ValueError: the layer has no form in integers.
        """
        graph = self._graph
        quantizer = getattr(layer, "input_quantizer", None)
        lora_u, lora_v = getattr(layer, "lora_u", None), getattr(layer, "lora_v", None)
        frozen = layer if isinstance(layer, QuantLinear) and layer.is_frozen else None
        codes = None if quantizer is None else self._quantized(quantizer, x, layer.in_features)
        if codes is not None and (lora_u is not None or frozen is None):
            x = dequantize(graph, codes)
        if frozen is None:
            y = graph("MatMul", x, _array(layer.weight).T)
        else:
            _check_symmetric(frozen)
            y = self._weighted(frozen, x) if codes is None else self._product(frozen, codes)
        if lora_u is not None and lora_v is not None:
            y = graph("Add", y, graph("MatMul", graph("MatMul", x, _array(lora_u)), _array(lora_v)))
        return y, np.zeros(layer.out_features, np.float32) if layer.bias is None else _array(layer.bias)

    def embedding(self, table: nn.Embedding, ids: str) -> str:
        """Append the look-up of ``ids`` [batch or 1, tokens]; of a quantized table, only the rows found are unpacked.

        Returns:
            [batch or 1, tokens, features].
        """
        graph = self._graph
        if not isinstance(table, QuantEmbedding) or table.code_format is None:
            return graph("Gather", _array(table.weight), ids)
        _check_symmetric(table)
        coding = _byte_aligned(table.code_format)
        per_byte = 5 if coding.ternary else 8 // coding.bits
        every_byte = torch.arange(243 if coding.ternary else 256, dtype=torch.uint8)[:, None]
        values = unpack_codes(every_byte, coding, per_byte).numpy().astype(np.float32)
        if table.scale.dim() == 0:
            values *= table.scale.item()
        found = graph("Gather", pack_codes(table.codes, coding).numpy(), ids)
        rows = graph("Gather", values, graph("Cast", found, to=TensorProto.INT32))
        rows = graph("Reshape", rows, np.array([0, 0, -1]))
        if table.embedding_dim % per_byte:
            rows = graph("Slice", rows, np.array([0]), np.array([table.embedding_dim]), np.array([2]))
        return rows if table.scale.dim() == 0 else graph("Mul", rows, graph("Gather", _array(table.scale), ids))

    def fake_quantize(self, quantizer: Quantizer, x: str) -> str:
        """Append a quantizer of ``x`` (any shape) whose result is in floating point again.

        Raises:
            ValueError: it has one scale per token, or no form in bytes.
        """
        if quantizer.granularity != "tensor":
            raise ValueError(f"{quantizer} on an operand of attention: expected granularity 'tensor'")
        return dequantize(self._graph, quantize_activation(self._graph, quantizer, x, 0))

    def _quantized(self, quantizer: Quantizer, x: str, features: int) -> QuantizedActivation:
        settings = quantizer.describe() | {key: value.tolist() for key, value in quantizer.state_dict().items()}
        key = (x, json.dumps(settings))
        if key not in self._inputs:
            self._inputs[key] = quantize_activation(self._graph, quantizer, x, features)
        return self._inputs[key]

    def _weighted(self, layer: QuantLinear, x: str) -> str:
        """Floating-point input: integers in the file, which onnxruntime turns into floating point when it loads."""
        weight = self._graph("Cast", _array(layer.codes).T, to=TensorProto.FLOAT)
        return self._graph("MatMul", x, self._graph("Mul", weight, _array(layer.scale).reshape(-1)))

    def _product(self, layer: QuantLinear, x: QuantizedActivation) -> str:
        graph, columns = self._graph, _array(layer.scale).reshape(-1)  # one scale, or one per output
        if x.block or (self._two_bits and _fits_two_bits(layer, x)):
            # Sums of codes are whole numbers, nearly always below 2^24: exact until the scales meet them, all at once.
            product = self._two_bit_product if self._two_bits and _fits_two_bits(layer, x) else self._byte_product
            y = graph("Mul", product(layer, x), graph("Mul", x.scale, columns))
        else:
            y = self._byte_product(layer, x, x.scale, columns)
        if x.offset is not None:
            sums = _array(layer.codes).astype(np.int64).sum(1).astype(np.float32)
            y = graph("Add", y, graph("Mul", x.offset, sums * columns))
        return y

    def _byte_product(
        self,
        layer: QuantLinear,
        x: QuantizedActivation,
        scale: str | np.float32 = _ONE,
        columns: np.ndarray | np.float32 = _ONE,
    ) -> str:
        codes, zero = _array(layer.codes).T, list[np.uint8]()
        if codes.dtype == np.int8 and np.abs(codes.astype(np.int16)).max() > _SAFE:
            codes, zero = (codes.astype(np.int16) + 128).astype(np.uint8), [np.uint8(128)]
        return self._graph("MatMulIntegerToFloat", x.codes, codes, scale, columns, x.zero, *zero)

    def _two_bit_product(self, layer: QuantLinear, x: QuantizedActivation) -> str:
        """Multiply the codes alone.

        The fast kernel turns the input into signed bytes with one scale per block, greatest magnitude / 127. Every
        block gets 127 as its last element, with a weight of zero: the scale is 1, and codes stay what they are.
        """
        graph, (rows, columns) = self._graph, layer.codes.shape
        room = _BLOCK - 1
        blocks = -(-columns // room)
        missing = blocks * room - columns
        codes = graph("DequantizeLinear", x.codes, _ONE, x.zero)
        if missing:
            codes = graph("Pad", codes, np.array([0, missing]), np.float32(0), _LAST)
        codes = graph("Reshape", codes, np.array([0, 0, blocks, room]))
        codes = graph("Pad", codes, np.array([0, 1]), np.float32(_FULL), _LAST)
        codes = graph("Reshape", codes, np.array([0, 0, -1]))
        digits = np.full((rows, blocks, _BLOCK), _ZERO_DIGIT, np.uint8)
        digits[..., :room] = np.pad(
            (_array(layer.codes) + _ZERO_DIGIT).astype(np.uint8), ((0, 0), (0, missing)), constant_values=_ZERO_DIGIT
        ).reshape(rows, blocks, room)
        return graph(
            "MatMulNBits",
            codes,
            pack_bits(digits, 2),
            np.ones((rows, blocks), np.float32),
            K=blocks * _BLOCK,
            N=rows,
            bits=2,
            block_size=_BLOCK,
            accuracy_level=4,  # signed bytes
        )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _check_symmetric(layer: QuantizedLayer) -> None:
    if layer.zero_point is not None:
        raise ValueError(
            f"{layer} has codes with a zero point, which cannot run as integers: use a symmetric quantizer"
        )


def _fits_two_bits(layer: QuantLinear, x: QuantizedActivation) -> bool:
    """Whether the two-bit product of weight and input is exact."""
    least, most = int(layer.codes.min()), int(layer.codes.max())
    return least >= -_ZERO_DIGIT and most < 4 - _ZERO_DIGIT and max(map(abs, x.levels)) <= _FULL


def _byte_aligned(coding: CodeFormat) -> CodeFormat:
    """Return the format whose codes do not straddle bytes: 3 bits take 4, and 5 to 7 take 8."""
    bits = 1 << (coding.bits - 1).bit_length()
    if coding.ternary or bits == coding.bits:
        return coding
    return dataclasses.replace(coding, bits=bits, least=-(2 ** (bits - 1)) if coding.least < 0 else 0)
