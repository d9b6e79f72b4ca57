"""A builder for ONNX graphs: operators are called like functions, on the names of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Opset 21 has QuantizeLinear with one scale per block, here one per token, and opset 23 has Attention. The file format
# version is the one that came with it: newer ones would only shut out older readers.
OPSET, IR_VERSION = 23, 11
_ONNXRUNTIME = "com.microsoft"
_ONNXRUNTIME_OPERATORS = frozenset(("MatMulIntegerToFloat", "MatMulNBits"))

_SMALL = 4096

Operand = str | np.ndarray | np.generic
Axes = Sequence[str | int]


class Graph:
    """Nodes and constants of a graph under construction.

    Tensors are referred to by name; wherever a name is expected, an array stands for a constant.
    """

    def __init__(self) -> None:
        """Start empty."""
        # Nodes and constants go where they stay: what is gathered in lists first is copied, and the copies add up.
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="xtcq")
        self._graph = self._model.graph
        self._small: dict[tuple[object, ...], str] = {}
        self._nodes: dict[tuple[str, ...], str] = {}

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Store an array in the graph and return its name; equal small arrays are stored once."""
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size <= _SMALL else None
        if key in self._small:
            return self._small[key]
        name = f"constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        if key is not None:
            self._small[key] = name
        return name

    def __call__(self, operator: str, *operands: Operand, **attributes: Any) -> str:
        """Append a node, unless the same was appended before, and return the name of its first output.

        Args:
            operator: of the standard, or one of onnxruntime's own that the encoders of this package need.
            *operands: names or arrays; "" for an optional input that is left out.
            **attributes: of the node.
        """
        inputs = [operand if isinstance(operand, str) else self.constant(operand) for operand in operands]
        key = (operator, repr(attributes), *inputs)
        if key in self._nodes:
            return self._nodes[key]
        name = self._nodes[key] = f"{operator}_{len(self._graph.node)}"
        domain = _ONNXRUNTIME if operator in _ONNXRUNTIME_OPERATORS else ""
        self._graph.node.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def finish(self, inputs: Mapping[str, Axes], outputs: Mapping[str, tuple[str, Axes]]) -> onnx.ModelProto:
        """Return the model; nothing can be added to it afterwards.

        Args:
            inputs: int64 inputs: name to axes, by name or length.
            outputs: float outputs: name to the tensor that it gives, and its axes.
        """
        graph, self._graph.name = self._graph, "xtcq"
        graph.node.extend(helper.make_node("Identity", [tensor], [name]) for name, (tensor, _) in outputs.items())
        graph.input.extend(
            helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name, axes in inputs.items()
        )
        graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, (_, axes) in outputs.items()
        )
        self._model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(_ONNXRUNTIME, 1)])
        return self._model
