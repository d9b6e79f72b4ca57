"""A frozen BERT as an ONNX graph that computes with integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch import nn
from transformers import BertForQuestionAnswering, BertForSequenceClassification, BertModel, PreTrainedModel

from xtcq.checks import check_choice
from xtcq.deploy.activations import dequantize, quantize_activation
from xtcq.deploy.graph import Graph
from xtcq.deploy.integer_layers import IntegerLayers
from xtcq.deploy.prepared import INPUTS, WEIGHTS
from xtcq.files import whole_file
from xtcq.packing import load_packed
from xtcq.preflight import check_integer_graph, check_packable
from xtcq.quantization import DynamicQuantizer, SplitLayer, check_frozen, find_encoder, quantized_layers

_FIRST = (np.array([0]), np.array([1]), np.array([1]))  # start, end and axis of the first token's slice


def export_onnx(model: PreTrainedModel | str | Path, path: str | Path, weights: str = "int8") -> Path:
    """Write a packed model as an ONNX file, for onnxruntime on a CPU.

    The graph takes ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 [batch, tokens] with both axes free,
    and gives ``logits`` (question answering: ``start_logits`` and ``end_logits``; a bare BertModel:
    ``last_hidden_state`` and ``pooler_output``). Weights are multiplied as integers, by activations that are quantized
    as in training, and those sums are exact. LayerNorm, GELU, softmax and the products of attention are in floating
    point.

    The frozen model adds up the same products in floating point, so a value between two levels of the next quantizer
    may fall to the other side, and then it moves by a level. That is why logits differ by more than rounding: by as
    much as those of the frozen model in float32 differ from its own in float64.

    Args:
        model: the folder of a packed model, or a frozen model.
        path: the file to write.
        weights: how the weights of linear layers are kept and multiplied. "int8": one byte each, the faster way for
            more than a few tokens. "matmulnbits": two bits each where they fit (binary, ternary and 2-bit LSQ), for
            few tokens at a time, when reading the weights takes longer than multiplying.

    Returns:
        The path.

    Raises:
        ValueError: weights unknown, or a model that is not frozen or holds what cannot run as integers.
        FileNotFoundError: there is no packed model in the folder.
        PackedModelError: the packed model is damaged; see ``load_packed``.
        OSError: the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from transformers import BertConfig, BertModel
        >>> from xtcq import QuantConfig, freeze, quantize
        >>> from xtcq.deploy.export import export_onnx
        >>> config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> model = freeze(quantize(BertModel(config).eval(), QuantConfig("1-1-8")))
        >>> export_onnx(model, f"{tempfile.mkdtemp()}/model.onnx").name
        'model.onnx'
    """
    path = Path(path).absolute()
    graph = build_graph(load_packed(model) if isinstance(model, (str, Path)) else model, weights)
    with whole_file(path) as temporary:
        onnx.save(graph, temporary)
    return path


def build_graph(model: PreTrainedModel, weights: str = "int8") -> onnx.ModelProto:
    """Return the graph that ``export_onnx`` writes; arguments and errors are described there."""
    check_choice("weights", weights, WEIGHTS)
    _check(model)
    encoder: Any = find_encoder(model)[1]
    graph = Graph()
    layers = IntegerLayers(graph, weights == "matmulnbits")
    bert = _Bert(graph, layers, encoder)
    config: Any = model.config
    outputs: dict[str, tuple[str, tuple[str | int, ...]]]
    if isinstance(model, BertForSequenceClassification):
        logits = layers.linear(model.classifier, bert.pooled(bert.encode(first_only=True)), bert.first)
        outputs = {"logits": (_squeezed(graph, logits), ("batch", config.num_labels))}
    elif isinstance(model, BertForQuestionAnswering):
        logits = layers.linear(model.qa_outputs, bert.encode(), bert.all)
        outputs = {
            name: (graph("Gather", logits, np.int64(i), axis=2), ("batch", "tokens"))
            for i, name in enumerate(("start_logits", "end_logits"))
        }
    else:
        hidden = bert.encode()
        outputs = {"last_hidden_state": (hidden, ("batch", "tokens", config.hidden_size))}
        if encoder.pooler is not None:
            pooled = bert.pooled(graph("Slice", hidden, *_FIRST))
            outputs["pooler_output"] = (_squeezed(graph, pooled), ("batch", config.hidden_size))
    return graph.finish({name: ("batch", "tokens") for name in INPUTS}, outputs)


def shares_scales(model: nn.Module) -> bool:
    """Whether tokens share a scale that is found when the model runs: then each depends on all others of its batch."""
    dynamic = (module for module in model.modules() if isinstance(module, DynamicQuantizer))
    return any(quantizer.granularity == "tensor" for quantizer in dynamic)


class _Bert:
    """Appends the parts of an encoder to a graph; hidden states are [batch, tokens, features].

    Attributes:
        all: name of the shape of one number per token.
        first: name of the shape of one number for each text's first token.
    """

    def __init__(self, graph: Graph, layers: IntegerLayers, encoder: BertModel) -> None:
        self._graph, self._layers, self._encoder = graph, layers, encoder
        self._heads = encoder.config.num_attention_heads
        padding = graph("Sub", np.float32(1), graph("Cast", "attention_mask", to=TensorProto.FLOAT))
        # What is added to the scores: [batch, 1, 1, tokens], the same for every query. The least float would make
        # onnxruntime leave out a row that is padding throughout.
        self._mask = graph("Mul", graph("Unsqueeze", padding, np.array([1, 2])), np.float32(-1e30))
        batch, tokens, one = graph("Shape", "input_ids", end=1), graph("Shape", "input_ids", start=1), np.array([1])
        self._masks = graph("Expand", self._mask, graph("Concat", one, one, tokens, one, axis=0))
        self.all = graph("Concat", batch, tokens, one, axis=0)
        self.first = graph("Concat", batch, one, one, axis=0)

    def encode(self, first_only: bool = False) -> str:
        """Append embeddings and encoder layers.

        With ``first_only`` the result is the first token's state, [batch, 1, features], and the last layer leaves out
        what it depends not on.
        """
        x, layers = self._embeddings(), self._encoder.encoder.layer
        for layer in layers[:-1]:
            x = self._layer(layer, x, x)
        prune = first_only and not shares_scales(layers[-1])
        queries = self._graph("Slice", x, *_FIRST) if prune else x
        x = self._layer(layers[-1], queries, x)
        return self._graph("Slice", x, *_FIRST) if first_only and not prune else x

    def pooled(self, first: str) -> str:
        """Append the pooler on the first token's state [batch, 1, features]."""
        pooler: Any = self._encoder.pooler
        return self._graph("Tanh", self._layers.linear(pooler.dense, first, self.first))

    def _embeddings(self) -> str:
        graph, tables = self._graph, self._encoder.embeddings
        tokens = graph("Gather", graph("Shape", "input_ids"), np.int64(1))
        positions = graph("Unsqueeze", graph("Range", np.int64(0), tokens, np.int64(1)), np.array([0]))
        x = self._layers.embedding(tables.word_embeddings, "input_ids")
        x = graph("Add", x, self._layers.embedding(tables.token_type_embeddings, "token_type_ids"))
        x = graph("Sum", x, self._layers.embedding(tables.position_embeddings, positions))
        return self._normalise(tables.LayerNorm, x)

    def _layer(self, layer: Any, queries: str, x: str) -> str:
        """Append an encoder layer that computes the states at ``queries``: all of ``x``, or the first tokens'."""
        linear, shape = self._layers.linear, self.all if queries == x else self.first
        attended = self._attention(layer.attention.self, queries, x)
        output = layer.attention.output
        queries = self._normalise(output.LayerNorm, linear(output.dense, attended, shape, queries))
        inner = linear(layer.intermediate.dense, queries, shape)
        inner = self._graph("Gelu" if self._encoder.config.hidden_act == "gelu" else "Relu", inner)
        return self._normalise(layer.output.LayerNorm, linear(layer.output.dense, inner, shape, queries))

    def _normalise(self, norm: nn.LayerNorm, x: str) -> str:
        parameters = (tensor.detach().numpy() for tensor in (norm.weight, norm.bias))
        return self._graph("LayerNormalization", x, *parameters, axis=-1, epsilon=norm.eps)

    def _attention(self, attention: Any, queries: str, x: str) -> str:
        graph = self._graph
        at_queries = self.all if queries == x else self.first
        states = {"query": (queries, at_queries), "key": (x, self.all), "value": (x, self.all)}
        quantizers = getattr(attention, "operand_quantizers", None)
        # A key's bias adds the same to all scores of a query, and softmax takes that out again.
        operands = {
            name: self._layers.linear(getattr(attention, name), *at, bias=name != "key" or quantizers is not None)
            for name, at in states.items()
        }
        if quantizers is None:
            mask = self._masks if queries == x else self._mask
            heads = {"q_num_heads": self._heads, "kv_num_heads": self._heads}
            return graph("Attention", *operands.values(), mask, **heads)

        def quantized(name: str, operand: str) -> str:
            # A recipe gives all operands one scale for the whole tensor, so there is no shape of scales to name.
            return dequantize(graph, quantize_activation(graph, quantizers[name], operand, 0, ""))

        query, key, value = (self._split(quantized(name, operand)) for name, operand in operands.items())
        scores = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph("Mul", scores, np.float32(attention.attention_head_size**-0.5))
        probabilities = graph("Softmax", graph("Add", scores, self._mask), axis=-1)
        mixed = graph("MatMul", quantized("probabilities", probabilities), value)
        return graph("Reshape", graph("Transpose", mixed, perm=[0, 2, 1, 3]), np.array([0, 0, -1]))

    def _split(self, x: str) -> str:
        """Append the split into heads, [batch, heads, tokens, head size]."""
        split = self._graph("Reshape", x, np.array([0, 0, self._heads, -1]))
        return self._graph("Transpose", split, perm=[0, 2, 1, 3])


def _squeezed(graph: Graph, x: str) -> str:
    return graph("Squeeze", x, np.array([1]))


def _check(model: PreTrainedModel) -> None:
    check_packable(model)
    check_frozen(model)
    for name, layer in quantized_layers(model).items():
        if isinstance(layer, SplitLayer):
            raise ValueError(
                f"{name} was split in two binary halves by recipe 'binarybert', which has no integer graph: run the "
                "model from load_packed, or train with recipe 'xtc'"
            )
    check_integer_graph(model.config)
