"""How fast is a packed model on a processor, beside other ways to serve a classifier of its shape?

Times BERT-base's and MiniLM's shape with random weights in every way of ``runtimes``. All get the same tokens in one
run and take turns; a ratio is the median over the turns. What the machine could do at most, products a second and
bytes a second, is measured in the same run.

    python benchmarks/inference.py --arch bert-base --json benchmarks/results/inference-cpu-bert-base.json
    python benchmarks/inference.py --arch minilm-l6 --rounds 3 --shape 1x16      # a look
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from common import Clock, clock_of, clock_said, in_turns, processor, speeds, write
from runtimes import BASELINE, COMPILED, PARTS, PAUSE, PEER, TWO_BITS, config_of, installed, random_models, runtimes_of
from transformers import BertConfig

from xtcq.deploy.runtime import session_options

LARGE = 1024  # tokens of a batch
FEW = 16  # tokens, beyond which weights of two bits in memory are far behind
MIB = 2**20


def roofline(clock: Clock, threads: int) -> dict[str, float]:
    """What the machine does at most: GMAC a second by number format, and GB a second that are read."""
    x, w = torch.randn(1024, 768), torch.randn(768, 3072)
    xi, wi = (torch.randint(-127, 128, t.shape, dtype=torch.int8) for t in (x, w))
    xh, wh, big = x.bfloat16(), w.bfloat16(), torch.ones(2**27)
    macs = x.shape[0] * w.numel() / 1e9
    fp32 = macs / _best(lambda: x @ w, clock)
    # What bf16 holds is exact in fp32, and bytes are in either: a processor multiplies them at least that fast.
    bf16 = max(fp32, macs / _best(lambda: xh @ wh, clock))
    bytes_ = (lambda: torch._int_mm(xi, wi), _in_onnxruntime(xi, wi, threads))
    return {
        "fp32 (GMAC/s)": fp32,
        "bf16 (GMAC/s)": bf16,
        "int8 (GMAC/s)": max(bf16, *(macs / _best(call, clock) for call in bytes_)),
        "memory (GB/s)": big.nbytes / 1e9 / _best(lambda: big.sum(), clock),
    }


def _in_onnxruntime(x: torch.Tensor, weight: torch.Tensor, threads: int) -> Callable[[], object]:
    """The product in onnxruntime, which has one for processors whose bytes PyTorch multiplies one by one."""
    tensors = onnx.TensorProto
    node = onnx.helper.make_node("MatMulInteger", ["x", "weight"], ["y"])
    given = onnx.helper.make_tensor_value_info("x", tensors.UINT8, x.shape)
    gives = onnx.helper.make_tensor_value_info("y", tensors.INT32, (len(x), weight.shape[1]))
    graph = onnx.helper.make_graph(
        [node], "product", [given], [gives], [onnx.numpy_helper.from_array(weight.numpy(), "weight")]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads), ["CPUExecutionProvider"]
    )
    codes = (x.short() + 128).to(torch.uint8).numpy()
    return lambda: session.run(None, {"x": codes})


def _best(call: Callable[[], object], clock: Clock) -> float:
    seconds = []
    for _ in range(12):
        started = clock()
        call()
        seconds.append(clock() - started)
    return min(seconds)


def least_ms(config: BertConfig, rows: int, tokens: int, peak: Mapping[str, float]) -> dict[str, float]:
    """The time that products and weights take at least, where every weight is read from memory once."""
    hidden, count = config.hidden_size, config.num_hidden_layers
    weights = count * (4 * hidden * hidden + 2 * hidden * config.intermediate_size)
    attention = 2 * count * rows * tokens * tokens * hidden / 1e6 / peak["fp32 (GMAC/s)"]
    found = {}
    for name, kind, bits in (("fp32", "fp32", 32), ("bf16", "bf16", 16), ("int8", "int8", 8), ("2 bits", "int8", 2)):
        products = rows * tokens * weights / 1e6 / peak[f"{kind} (GMAC/s)"]
        found[name] = max(products, weights * bits / 8e6 / peak["memory (GB/s)"]) + attention
    return found


def main(
    arch: Annotated[list[str], typer.Option(help="may be given several times")] = ["bert-base", "minilm-l6"],  # noqa: B006
    shape: Annotated[list[str], typer.Option(help="rows x tokens; may be given several times")] = [  # noqa: B006
        *("1x4", "1x8", "1x16", "1x128", "32x128")
    ],
    layers: Annotated[int | None, typer.Option(min=1, help="depth, if other than the architecture's")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="of a text; a batch of 32 gets a seventh of them")] = 20,
    threads: Annotated[list[int], typer.Option(help="may be given several times")] = [1, os.cpu_count() or 1],  # noqa: B006
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="one thread by the processor's time, for a machine in use")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="also PyTorch's compiler, a minute a model")] = False,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and ratios to fp32 PyTorch and to onnxruntime's dynamic int8."""
    result = {"device": processor(), "rounds": rounds, "clock": clock_said(cpu_time), **installed()}
    result |= {"roofline": {"peak": {}, "least ms": {}}, "batches": {}}
    torch._inductor.config.cpp.dynamic_threads = True  # compiled once for all numbers of threads
    with tempfile.TemporaryDirectory() as name:
        for kind in arch:
            config = config_of(kind, layers)
            floating, students = random_models(config, Path(name) / kind)
            for count in threads:
                torch.set_num_threads(count)
                clock = clock_of(count, cpu_time)
                peak = result["roofline"]["peak"].setdefault(f"{count} threads", roofline(clock, count))
                # Asked for all cores, a runtime keeps its threads apart; two of them may meet on one core otherwise.
                ways = runtimes_of(floating, students, 0 if count == os.cpu_count() else count, compiled)
                for one in shape:
                    rows, tokens = map(int, one.split("x"))
                    large = rows * tokens >= LARGE
                    ids = np.random.default_rng(0).integers(1000, 30000, (rows, tokens))
                    batch = {
                        "input_ids": ids,
                        "attention_mask": np.ones_like(ids),
                        "token_type_ids": np.zeros_like(ids),
                    }
                    timed = {
                        way: lambda run=run, batch=batch: run(batch)
                        for way, (run, _) in ways.items()
                        if (rows * tokens <= FEW or TWO_BITS not in way) and (large or PARTS not in way)
                    }
                    if large and compiled:
                        timed[COMPILED]()  # another shape may be compiled again
                    turns = max(2, rounds // 7) if large else rounds
                    seconds = in_turns(timed, turns, warm=not large, clock=clock, pause=PAUSE, again=not large)
                    table = speeds(seconds, (BASELINE, PEER))
                    table["file (MiB)"] = [ways[way][1] / MIB for way in table.index]
                    place = f"{kind}{f' of {layers} layers' if layers else ''}, {one}, {count} threads"
                    typer.echo(f"\n{place}\n{table.iloc[:, [0, 1, 4]].round(2).to_string()}")
                    result["batches"][place] = table.to_dict("index")
                    result["roofline"]["least ms"][place] = least_ms(config, rows, tokens, peak)
                    write(result, output)


if __name__ == "__main__":
    typer.run(main)
