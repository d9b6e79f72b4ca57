"""Can weights of two bits be faster than bytes? The products of an encoder alone, in every engine that has them.

All linear layers of BERT-base's encoder in their order, with ternary weights that are all distinct: what a text of few
tokens waits for. Every engine but onnxruntime's dynamic int8 multiplies by activations with one scale a token, as XTC
trains them; how far the engines are from exact integers is measured on one product.

    python benchmarks/products.py --json benchmarks/results/products-cpu.json
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from common import clock_of, clock_said, in_turns, processor, speeds, write
from onnxruntime.quantization import quantize_dynamic
from runtimes import PAUSE, PEER, config_of, installed
from torch import Tensor, nn

from xtcq.deploy.graph import Graph
from xtcq.deploy.integer_layers import IntegerLayers
from xtcq.deploy.runtime import session_options
from xtcq.quantization import DynamicQuantizer, QuantLinear, TernaryQuantizer, freeze

Linear = Callable[[QuantLinear], Callable[[Tensor], Tensor]]
Layers = list[QuantLinear]


def layers_of(hidden: int, inner: int, count: int) -> Layers:
    """Frozen ternary layers that leave the size of what they multiply about the same: q, k, v, o and the two others."""
    torch.manual_seed(0)
    sizes = [*[(hidden, hidden)] * 4, (hidden, inner), (inner, hidden)] * count
    floats = [nn.Linear(*size, bias=False) for size in sizes]
    for layer in floats:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    inputs = DynamicQuantizer(8, granularity="token")
    return list(freeze(nn.Sequential(*(QuantLinear.from_float(one, TernaryQuantizer(), inputs) for one in floats))))


def chain(calls: list[Callable], add: Callable, x):
    """The products in the order of an encoder, six a layer."""
    for at in range(0, len(calls), 6):
        query, key, value, output, inner, last = calls[at : at + 6]
        x = last(inner(output(add(query(x), key(x), value(x)))))
    return x


def in_onnxruntime(layers: Layers, threads: int, two_bits: bool | None) -> Callable[[Tensor], Tensor]:
    """The chain as xtcq exports it, in bytes or two bits; None: in floating point, and then by onnxruntime's tool."""
    graph = Graph()
    shape = graph("Concat", graph("Shape", "x", end=2), np.array([1]), axis=0)
    made = IntegerLayers(graph, bool(two_bits))
    if two_bits is None:
        dense = [(layer.codes * layer.scale).T.numpy() for layer in layers]
        calls = [lambda x, weight=weight: graph("MatMul", x, weight) for weight in dense]
    else:
        calls = [lambda x, layer=layer: made.linear(layer, x, shape) for layer in layers]
    last = chain(calls, lambda *terms: graph("Sum", *terms), "x")
    model = graph.finish({}, {"y": (last, (1, "tokens", layers[0].in_features))})
    axes = (1, "tokens", layers[0].in_features)
    model.graph.input.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, axes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        onnx.save(model, path)
        if two_bits is None:
            quantize_dynamic(path, path)
        session = onnxruntime.InferenceSession(path, session_options(threads), ["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x[None].numpy()})[0][0])


def in_ark(layer: QuantLinear) -> Callable[[Tensor], Tensor]:
    """Two bits in Intel's kernels, which quantize each token themselves."""
    import auto_round_kernel as ark

    rows, width = layer.codes.shape
    codes, none = layer.codes.T.contiguous(), torch.empty(0)
    scales = layer.scale.expand(rows, 1).T.contiguous()
    kind = (width, "int8", "int2", "fp32", False)
    packed = ark.repack_quantized_weight(codes, scales, torch.empty(0, dtype=torch.int8), *kind)
    return lambda x: ark.woqgemm(x, packed, none, rows, width, *kind)


def in_onednn(layer: QuantLinear) -> Callable[[Tensor], Tensor]:
    """Bytes in oneDNN through PyTorch; a token's range, rounding and scale are operators of their own."""
    rows = len(layer.codes)
    weight = torch.ops.onednn.qlinear_prepack(layer.codes, None)
    scales, zeros = layer.scale.expand(rows, 1).flatten().contiguous(), torch.zeros(rows, dtype=torch.int64)
    fixed = (weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")

    def call(x: Tensor) -> Tensor:
        scale = x.abs().amax(1, keepdim=True) / 127
        codes = (x / scale).round_().add_(128).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(codes, 1.0, 128, *fixed).mul_(scale)

    return call


def main(
    tokens: Annotated[list[int], typer.Option(help="may be given several times")] = [1, 2, 4, 8, 16, 128],  # noqa: B006
    arch: Annotated[str, typer.Option(help="whose widths and depth")] = "bert-base",
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    threads: Annotated[list[int], typer.Option(help="may be given several times")] = [1, os.cpu_count() or 1],  # noqa: B006
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="one thread by the processor's time")] = False,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds of a chain of products, and ratios to onnxruntime's dynamic int8."""
    config = config_of(arch, None)
    layers = layers_of(config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    engines: dict[str, Linear] = {"oneDNN, bytes": in_onednn}
    if importlib.util.find_spec("auto_round_kernel"):
        engines["ARK, two bits"] = in_ark
    result = {
        "device": processor(),
        "rounds": rounds,
        "clock": clock_said(cpu_time),
        **installed(),
        "products": {},
        "exact": {},
    }
    for count in threads:
        torch.set_num_threads(count)
        ways = {
            PEER: in_onnxruntime(layers, count, None),
            "onnxruntime, xtcq's bytes": in_onnxruntime(layers, count, False),
            "onnxruntime, xtcq's two bits": in_onnxruntime(layers, count, True),
        }
        for name, engine in engines.items():
            calls = [engine(layer) for layer in layers]
            ways[name] = lambda x, calls=calls: chain(calls, lambda a, b, c: a + b + c, x)
        for length in tokens:
            x = torch.randn(length, config.hidden_size)
            timed = {name: lambda run=run: run(x) for name, run in ways.items()}
            with torch.inference_mode():
                seconds = in_turns(timed, rounds, 1, clock_of(count, cpu_time), PAUSE, again=True)
            table = speeds(seconds, [PEER])
            place = f"{arch}, {length} tokens, {count} threads"
            typer.echo(f"\n{place}\n{table.round(2).to_string()}")
            result["products"][place] = table.to_dict("index")
            write(result, output)
    x, layer = torch.randn(16, config.hidden_size), layers[4]
    quantized = layer.input_quantizer.quantize(x)
    scales = quantized.scale.double() * layer.scale.double().expand(len(layer.codes), 1).T
    exact = (quantized.codes.long() @ layer.codes.long().T) * scales
    for name, engine in engines.items():
        result["exact"][name] = {"largest difference": float((engine(layer)(x) - exact).abs().max())}
    result["exact"]["of"] = {"largest result": float(exact.abs().max())}
    typer.echo(result["exact"])
    write(result, output)


if __name__ == "__main__":
    typer.run(main)
