"""Linear layers and embedding tables with integer weights in an ONNX graph."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from xtcq.deploy.activations import QuantizedActivation, dequantize, quantize_activation
from xtcq.deploy.graph import Graph
from xtcq.packing.bits import pack_bits, pack_codes, unpack_codes
from xtcq.quantization import CodeFormat, QuantEmbedding, QuantLinear

_ONE = np.float32(1)
# A processor without a dot product of bytes adds two products of an unsigned and a signed byte in 16 bits, and
# 2 * 255 * 64 is the most that fits. Greater codes are stored as unsigned bytes, which take another path there.
_SAFE = 64
# Of the block sizes that onnxruntime takes for 2 bits, 32, 64 and 128 have fast kernels.
_BLOCK = 128
_FULL = 127
_ZERO_DIGIT = 2
_LAST = np.array([-1])


class IntegerLayers:
    """Appends the layers of a frozen model to a graph.

    An input that several layers quantize in the same way, such as that of query, key and value, is quantized once: the
    graph does nothing twice.
    """

    def __init__(self, graph: Graph, two_bits: bool = False) -> None:
        """Take the graph, and whether weights take two bits wherever that is exact, instead of eight."""
        self._graph = graph
        self._two_bits = two_bits

    def linear(self, layer: nn.Linear, x: str, shape: str, *added: str, bias: bool = True) -> str:
        """Append a linear layer, and whatever else is added to what it gives.

        Args:
            layer: frozen, or in floating point with or without a quantized input.
            x: [..., in_features].
            shape: name of the shape of ``x`` with 1 in place of ``in_features``.
            *added: [..., out_features].
            bias: whether the layer's is added, if it has one.

        Returns:
            [..., out_features].

        Raises:
            ValueError: the layer has no form in integers.
        """
        graph = self._graph
        quantizer = getattr(layer, "input_quantizer", None)
        lora_u, lora_v = getattr(layer, "lora_u", None), getattr(layer, "lora_v", None)
        frozen = layer if isinstance(layer, QuantLinear) and layer.is_frozen else None
        codes = None if quantizer is None else quantize_activation(graph, quantizer, x, layer.in_features, shape)
        row = _array(layer.bias) if bias and layer.bias is not None else None
        if codes is not None and (lora_u is not None or frozen is None):
            x = dequantize(graph, codes)
        if frozen is None:
            terms = [graph("MatMul", x, _array(layer.weight).T)]
        elif codes is None:
            terms = [self._weighted(frozen, x)]
        elif codes.tokens or self._two_bits or added:
            terms = [self._product(frozen, codes)]
        else:  # the product has the whole scale, and can add the bias itself
            terms, row = [self._product(frozen, codes, row)], None
        if lora_u is not None and lora_v is not None:
            terms.append(graph("MatMul", graph("MatMul", x, _array(lora_u)), _array(lora_v)))
        terms += added
        if row is not None:
            # Last and as a matrix of one row: an Add in the usual place is joined to GELU or LayerNorm by onnxruntime,
            # in operators that take longer than theirs and the Add. A Sum is left alone, but stays on one thread.
            terms.append(graph.constant(row[None]))
        return functools.reduce(lambda y, term: graph("Add", y, term), terms)

    def embedding(self, table: nn.Embedding, ids: str) -> str:
        """Append the look-up of ``ids`` [batch or 1, tokens]; of a quantized table, only the rows found are unpacked.

        Returns:
            [batch or 1, tokens, features].
        """
        graph = self._graph
        if not isinstance(table, QuantEmbedding) or table.code_format is None:
            return graph("Gather", _array(table.weight), ids)
        coding = _byte_aligned(table.code_format)
        values = _values_of_bytes(coding).astype(np.float32)
        per_byte = values.shape[1]
        if table.scale.dim() == 0:
            values *= table.scale.item()
        found = graph("Gather", pack_codes(table.codes, coding).numpy(), ids)
        rows = graph("Gather", values, graph("Cast", found, to=TensorProto.INT32))
        rows = graph("Reshape", rows, np.array([0, 0, -1]))
        if table.embedding_dim % per_byte:
            rows = graph("Slice", rows, np.array([0]), np.array([table.embedding_dim]), np.array([2]))
        return rows if table.scale.dim() == 0 else graph("Mul", rows, graph("Gather", _array(table.scale), ids))

    def _weighted(self, layer: QuantLinear, x: str) -> str:
        """Floating-point input: integers in the file, which onnxruntime turns into floating point when it loads."""
        codes, zero = self._codes(layer)
        weight = self._graph("Cast", codes, to=TensorProto.FLOAT)
        if zero:
            weight = self._graph("Sub", weight, np.float32(zero))
        return self._graph("MatMul", x, self._graph("Mul", weight, _array(layer.scale).reshape(-1)))

    def _product(self, layer: QuantLinear, x: QuantizedActivation, bias: np.ndarray | None = None) -> str:
        """Append the product, and a bias [out_features] where bytes are multiplied at one scale for all tokens."""
        graph, columns = self._graph, _array(layer.scale).reshape(-1)  # one scale, or one per output
        if self._two_bits and _fits_two_bits(layer, x):
            # Sums of codes are whole numbers, nearly always below 2^24: exact until the scales meet them.
            return graph("Mul", self._two_bit_product(layer, x), graph("Mul", x.scale, columns))
        if x.tokens:
            return graph("Mul", self._byte_product(layer, x, _ONE, columns), x.scale)
        return self._byte_product(layer, x, x.scale, columns, bias)

    def _byte_product(
        self,
        layer: QuantLinear,
        x: QuantizedActivation,
        scale: str | np.float32,
        columns: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> str:
        codes, zero = self._codes(layer)
        optional = (np.uint8(zero) if zero else "", "" if bias is None else bias)
        return self._graph("MatMulIntegerToFloat", x.codes, codes, scale, columns, x.zero, *optional)

    def _codes(self, layer: QuantLinear) -> tuple[str, int]:
        """Append the codes [in_features, out_features], a byte each, and return them with what they have too much.

        Codes of less than a byte are packed in the file. They depend on no input, so onnxruntime unpacks them once,
        when it loads the file.
        """
        graph, codes, code_format = self._graph, layer.codes.T.contiguous(), layer.code_format
        coding = None if code_format is None else _byte_aligned(code_format)
        if coding is None or coding.bits == 8:
            values = _array(codes)
            if values.dtype == np.int8 and np.abs(values.astype(np.int16)).max() > _SAFE:
                return graph.constant((values.astype(np.int16) + 128).astype(np.uint8)), 128
            return graph.constant(values), 0
        bytes_ = graph("Cast", pack_codes(codes.flatten(), coding).numpy(), to=TensorProto.INT32)
        table = _values_of_bytes(coding)
        digits = graph("Gather", table, bytes_)
        if codes.numel() % table.shape[1]:
            digits = graph("Slice", graph("Reshape", digits, np.array([-1])), np.array([0]), np.array([codes.numel()]))
        return graph("Reshape", digits, np.array(codes.shape)), 0

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


def _fits_two_bits(layer: QuantLinear, x: QuantizedActivation) -> bool:
    """Whether the two-bit product of weight and input is exact."""
    least, most = int(layer.codes.min()), int(layer.codes.max())
    return least >= -_ZERO_DIGIT and most < 4 - _ZERO_DIGIT and max(map(abs, x.levels)) <= _FULL


def _values_of_bytes(coding: CodeFormat) -> np.ndarray:
    """Return the codes that each byte holds, [bytes, codes a byte]."""
    every_byte = torch.arange(243 if coding.ternary else 256, dtype=torch.uint8)[:, None]
    return unpack_codes(every_byte, coding, 5 if coding.ternary else 8 // coding.bits).numpy()


def _byte_aligned(coding: CodeFormat) -> CodeFormat:
    """Return the format whose codes do not straddle bytes: 3 bits take 4, and 5 to 7 take 8."""
    bits = 1 << (coding.bits - 1).bit_length()
    if coding.ternary or bits == coding.bits:
        return coding
    return dataclasses.replace(coding, bits=bits, least=-(2 ** (bits - 1)) if coding.least < 0 else 0)
