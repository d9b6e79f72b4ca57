"""How fast is a packed model on a CPU, how soon does it answer, and how much memory does it take?

Times a classifier of BERT-base's shape with random weights: packed at 1-1-8 and 2-2-8 in xtcq's runtime, against the
same shape in PyTorch in fp32 and with PyTorch's dynamic int8, and in onnxruntime in fp32 and with its own dynamic int8.
All variants get the same tokens in one run and take turns, so that a drift of the machine's speed hits them all; a
ratio is the median over the turns. onnxruntime's tool quantizes the graph that xtcq makes of the fp32 model, with the
same fused operators and without what a classifier does not read, so the peer is as strong as it can be.

Then a packed model and an fp32 one are loaded from disk, each in a process of its own, up to the first prediction.

    python benchmarks/inference.py --json benchmarks/results/inference-cpu.json
    python benchmarks/inference.py --layers 2 --rounds 3      # a look
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
import transformers
import typer
from machine import processor
from onnxruntime.quantization import quantize_dynamic
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from xtcq.deploy.export import export_onnx
from xtcq.deploy.runtime import Runtime
from xtcq.packing import save_packed
from xtcq.quantization import ARCHITECTURES, QuantConfig, freeze, quantize

BASELINE, PEER = "PyTorch fp32", "onnxruntime dynamic int8"
PRECISIONS = ("1-1-8", "2-2-8")
PAUSE = 0.1  # seconds
TEXT = " ".join(f"w{i}" for i in range(30))
# What a program does that has nothing loaded yet.
LOADERS = {
    BASELINE: """
import torch
from transformers import AutoTokenizer, BertForSequenceClassification
ready()
tokenizer = AutoTokenizer.from_pretrained(folder)
model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
with torch.inference_mode():
    model(**tokenizer([text], return_tensors="pt"))
""",
    "xtcq": """
from xtcq.deploy.runtime import Runtime
ready()
Runtime(folder, weights).predict([text])
""",
}
FRAME = """
import json, pathlib, sys, time
started = time.perf_counter()
folder, weights, text = sys.argv[1:]
def ready():
    global imported, floor
    imported, floor = time.perf_counter(), peak()
def peak():
    # getrusage would count what the parent held when it forked.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
{body}
done = time.perf_counter()
print(json.dumps({{"imports (s)": imported - started, "load and first prediction (s)": done - imported,
                   "memory after imports (MiB)": floor, "peak memory (MiB)": peak()}}))
"""


def make_models(layers: int, folder: Path) -> BertForSequenceClassification:
    """Write the fp32 model and the packed ones below `folder`, and return the fp32 model."""
    config = BertConfig(**ARCHITECTURES["bert-base"] | {"num_hidden_layers": layers})
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {f"w{i}": 2 + i for i in range(config.vocab_size - 2)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    for precision in PRECISIONS:
        torch.manual_seed(0)
        model = freeze(quantize(BertForSequenceClassification(config).eval(), QuantConfig(precision)))
        save_packed(model, folder / precision, tokenizer=tokenizer)
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder / "fp32")
    tokenizer.save_pretrained(folder / "fp32")
    export_onnx(model, folder / "fp32.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tool takes the standard's attention for its own.
        quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", op_types_to_quantize=["MatMul", "Gather"])
    return model


def make_variants(
    model: BertForSequenceClassification, folder: Path, two_bits: bool, threads: int
) -> dict[str, Callable[[dict[str, np.ndarray]], object]]:
    """Return a function per variant that runs one batch."""

    def pytorch(model: torch.nn.Module) -> Callable[[dict[str, np.ndarray]], object]:
        def call(batch: dict[str, np.ndarray]) -> object:
            with torch.inference_mode():
                return model(**{name: torch.from_numpy(values) for name, values in batch.items()})

        return call

    def onnx_file(name: str) -> Callable[[dict[str, np.ndarray]], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, batch)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    variants = {
        BASELINE: pytorch(model),
        "PyTorch dynamic int8": pytorch(dynamic),
        "onnxruntime fp32": onnx_file("fp32.onnx"),
        PEER: onnx_file("int8.onnx"),
    }
    variants |= {f"xtcq {name}": Runtime(folder / name, threads=threads).logits for name in PRECISIONS}
    if two_bits:
        name = PRECISIONS[-1]
        variants[f"xtcq {name}, matmulnbits"] = Runtime(folder / name, "matmulnbits", threads).logits
    return variants


def measure(
    variants: dict[str, Callable[[dict[str, np.ndarray]], object]], rows: int, tokens: int, rounds: int, cpu_time: bool
) -> pd.DataFrame:
    """Seconds of every variant in every round, one row a round."""
    ids = np.random.default_rng(0).integers(1000, 30000, (rows, tokens))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    clock = time.process_time if cpu_time else time.perf_counter
    seconds = []
    for _ in range(rounds + 1):
        row = {}
        for name, run in variants.items():
            # The threads of the variant before still spin for a while, and would slow this one down.
            time.sleep(PAUSE)
            run(batch)
            started = clock()
            run(batch)
            row[name] = clock() - started
        seconds.append(row)
    return pd.DataFrame(seconds[1:])  # the first round warms up


def load(kind: str, folder: Path, weights: str, repeats: int) -> pd.Series:
    """Medians over fresh processes: seconds to the first prediction, and memory."""
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-c", FRAME.format(body=LOADERS[kind]), str(folder), weights, TEXT]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return pd.DataFrame(found).median()


def main(
    batch: Annotated[list[str], typer.Option(help="rows x tokens; may be given several times")] = ["1x128", "32x128"],  # noqa: B006
    layers: Annotated[int, typer.Option(min=1, max=12)] = 12,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    threads: Annotated[int, typer.Option(min=1, help="of PyTorch and onnxruntime")] = os.cpu_count() or 1,
    two_bits: Annotated[bool, typer.Option("--two-bits", help="also time weights of two bits in memory")] = False,
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="time of the processor, for a machine in use")] = False,
    loads: Annotated[int, typer.Option(help="fresh processes per model that is loaded; 0 for none")] = 3,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and ratios to fp32 PyTorch and to onnxruntime's dynamic int8."""
    torch.set_num_threads(threads)
    result = {
        "device": processor(),
        "threads": threads,
        "layers": layers,
        "rounds": rounds,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, onnx, onnxruntime)},
        "batches": {},
        "load": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variants = make_variants(make_models(layers, folder), folder, two_bits, threads)
        for shape in batch:
            seconds = measure(variants, *map(int, shape.split("x")), rounds, cpu_time)
            table = pd.DataFrame({"ms (median)": 1000 * seconds.median()})
            for other in (BASELINE, PEER):
                speed = (1 / seconds).mul(seconds[other], axis=0)
                table[f"times as fast as {other}"] = speed.median()
                table["lower quartile"], table["upper quartile"] = speed.quantile(0.25), speed.quantile(0.75)
                table = table.rename(columns={q: f"{q}, {other}" for q in ("lower quartile", "upper quartile")})
            typer.echo(f"\n{shape}, {layers} layers, {result['device']}, {threads} threads")
            typer.echo(table.iloc[:, [0, 1, 4]].round(2).to_string())
            result["batches"][shape] = table.to_dict("index")
        del variants
        if loads:
            kinds = {BASELINE: (BASELINE, "fp32", "")} | {f"xtcq {p}": ("xtcq", p, "int8") for p in PRECISIONS}
            found = {name: load(kind, folder / path, weights, loads) for name, (kind, path, weights) in kinds.items()}
            table = pd.DataFrame(found).T
            typer.echo(f"\n{table.round(2).to_string()}")
            result["load"] = table.to_dict("index")
    if output:
        output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
