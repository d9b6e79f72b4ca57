"""How far are the quantizers from the memory's bandwidth, and from the peers' functions?

Times forward, and forward with backward, of one bit, ternary and LSQ (4 bits) on the weight of a layer (768 x 3072, one
scale) and on a table of embeddings (30522 x 768, one scale per row; LSQ one step per row). All take turns in one run; a
time is the median over the turns.

The bound is a copy of the same tensor, measured in the same turns: it reads 4 bytes and writes 4 bytes per weight. A
forward pass can do with no less, and a backward pass, which reads one gradient and writes another, neither; so forward
with backward is held against two copies. Where the straight-through gradient is the identity, no kernel runs backward
and less than two copies may be enough. A scale needs all weights before the first one is written: a tensor larger than
the caches has to be read twice.

The peers are DeepSpeed's functions, where `deepspeed.compression` can be imported (`benchmarks/peers_env.sh` makes an
environment that has it), and PyTorch's own learnable fake quantization for LSQ.

    _build/peers/bin/python benchmarks/quantizer_kernels.py --json kernels.json
    python benchmarks/quantizer_kernels.py --device cuda --compile --json kernels.json
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from common import describe, in_turns, write
from torch import Tensor

from xtcq.quantization import BinaryQuantizer, LSQQuantizer, TernaryQuantizer

SHAPES = {"768 x 3072, one scale": (768, 3072, "tensor"), "30522 x 768, a scale per row": (30522, 768, "row")}
BITS = 4
BYTES = 8  # of a copy: float32 read and written
COPY = "copy"
# Wanted of a compiled quantizer on a GPU, in multiples of the bound.
TARGET = 2.0

Run = Callable[[], object]


def make_functions(rows: int, columns: int, granularity: str, device: str) -> tuple[Tensor, dict[str, tuple]]:
    """The weight, and of each function what is called and what it is differentiated by."""
    torch.manual_seed(0)
    weight = (0.05 * torch.randn(rows, columns, device=device)).requires_grad_()
    by_row = {"granularity": "row", "rows": rows} if granularity == "row" else {}
    lsq = LSQQuantizer(BITS, **by_row).to(device)
    lsq(weight)  # the first call chooses the step
    functions = {
        "binary, xtcq": (BinaryQuantizer(granularity).to(device), (weight,)),
        "ternary, xtcq": (TernaryQuantizer(granularity).to(device), (weight,)),
        "LSQ, xtcq": (lsq, (weight, lsq.step)),
    }
    low, high, factor = -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1, (weight.numel() / lsq.step.numel() * 7) ** -0.5
    step = lsq.step.detach().clone().reshape(-1).requires_grad_()
    zero = torch.zeros_like(step).requires_grad_()

    def learnable(x: Tensor) -> Tensor:
        if granularity == "row":
            return torch._fake_quantize_learnable_per_channel_affine(x, step, zero, 0, low, high, factor)
        return torch._fake_quantize_learnable_per_tensor_affine(x, step, zero, low, high, factor)

    functions["LSQ, PyTorch"] = (learnable, (weight, step))
    if importlib.util.find_spec("deepspeed") is not None:
        from deepspeed.compression import utils as deepspeed

        groups = rows if granularity == "row" else 1
        for name, kind, bits in (("binary", deepspeed.BinaryQuantizer, 1), ("ternary", deepspeed.TernaryQuantizer, 2)):
            functions[f"{name}, DeepSpeed"] = (lambda x, k=kind, b=bits: k.apply(x, b, None, None, groups), (weight,))
    return weight, functions


def make_runs(rows: int, columns: int, granularity: str, device: str, compiled: bool) -> dict[str, Run]:
    # Functions share their code, and the compiler keeps few versions of it; a second shape would make it a general one.
    torch.compiler.reset()
    weight, functions = make_functions(rows, columns, granularity, device)
    target, gradient = torch.empty_like(weight), torch.randn_like(weight)
    source = weight.detach()
    runs: dict[str, Run] = {COPY: lambda: target.copy_(source)}
    for name, (function, inputs) in functions.items():
        call = torch.compile(function, fullgraph=True) if compiled else function

        def forward(call: Callable = call) -> Tensor:
            with torch.no_grad():
                return call(weight)

        def both(call: Callable = call, inputs: tuple = inputs) -> tuple[Tensor, ...]:
            return torch.autograd.grad(call(weight), inputs, gradient)

        runs |= {f"{name}, forward": forward, f"{name}, forward and backward": both}
    return runs


def tabulate(times: pd.Series) -> pd.DataFrame:
    """Milliseconds and multiples of the bound, one row a function and direction."""
    found = times.drop(COPY)
    copies = [2 if name.endswith("backward") else 1 for name in found.index]
    bound = times[COPY] * pd.Series(copies, found.index)
    return pd.DataFrame({"ms (median)": 1000 * found, "bound (ms)": 1000 * bound, "x bound": found / bound})


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    compile: Annotated[bool, typer.Option("--compile", help="with torch.compile")] = False,
    rounds: Annotated[int, typer.Option(min=1)] = 50,
    threads: Annotated[int, typer.Option(help="of PyTorch on a CPU; 0 for its own choice")] = 0,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and multiples of a memory-bandwidth bound."""
    if threads:
        torch.set_num_threads(threads)
    result = {
        **describe(torch.device(device)),
        "deepspeed": None,
        "compiled": compile,
        "rounds": rounds,
        "target": TARGET,
        "shapes": {},
    }
    if importlib.util.find_spec("deepspeed") is not None:
        result["deepspeed"] = importlib.metadata.version("deepspeed")
    for name, (rows, columns, granularity) in SHAPES.items():
        times = in_turns(make_runs(rows, columns, granularity, device, compile), rounds).median()
        table = tabulate(times)
        bandwidth = BYTES * rows * columns / times[COPY] / 1e9
        typer.echo(f"\n{name}, {result['device']}, a copy at {bandwidth:.1f} GB/s")
        typer.echo(table.round(3).to_string())
        result["shapes"][name] = {
            "bytes of a copy": BYTES * rows * columns,
            "copy (ms)": 1000 * times[COPY],
            "GB/s": bandwidth,
            "functions": table.to_dict("index"),
        }
    write(result, output)


if __name__ == "__main__":
    typer.run(main)
