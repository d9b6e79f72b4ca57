"""How soon does a model answer that lies on disk, and how much memory does it take?

Every way loads it in a process of its own, imports included, and answers one sentence. The graph that xtcq answers with
was made before, as ``python -m xtcq pack`` makes it.

    python benchmarks/first_answer.py --json benchmarks/results/first_answer-cpu.json
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from common import processor, write
from runtimes import BASELINE, PEER, TWO_BITS, config_of, installed, random_models

from xtcq.deploy.runtime import Runtime

TEXT = " ".join(f"w{i}" for i in range(30))
_SESSION = """
import onnxruntime, tokenizers
ready()
one = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode(text)
session = onnxruntime.InferenceSession(folder + "/{file}", providers=["CPUExecutionProvider"])
session.run(None, {{"input_ids": [one.ids], "attention_mask": [one.attention_mask], "token_type_ids": [one.type_ids]}})
"""
_RUNTIME = """
from xtcq.deploy.runtime import Runtime
ready()
Runtime(folder, "{weights}").predict([text])
"""
# What a program does that has nothing loaded yet.
FLOATING = {
    BASELINE: """
import torch
from transformers import AutoTokenizer, BertForSequenceClassification
ready()
tokenizer = AutoTokenizer.from_pretrained(folder)
model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
with torch.inference_mode():
    model(**tokenizer([text], return_tensors="pt"))
""",
    "onnxruntime fp32": _SESSION.format(file="onnxruntime.onnx"),
    PEER: _SESSION.format(file="onnxruntime-int8.onnx"),
    "OpenVINO": """
import openvino, tokenizers
ready()
one = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode(text)
graph = openvino.Core().compile_model(folder + "/exported.onnx", "CPU")
graph({"input_ids": [one.ids], "attention_mask": [one.attention_mask], "token_type_ids": [one.type_ids]})
""",
    "CTranslate2 int8": """
import ctranslate2, tokenizers
ready()
one = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode(text)
ctranslate2.Encoder(folder + "/ctranslate2").forward_batch([one.ids])
""",
}
PACKED = {"xtcq": _RUNTIME.format(weights="int8"), f"xtcq{TWO_BITS}": _RUNTIME.format(weights="matmulnbits")}
FRAME = """
import json, pathlib, sys, time
started = time.perf_counter()
folder, text = sys.argv[1:]
def ready():
    global imported, floor
    imported, floor = time.perf_counter(), peak()
def peak():
    # getrusage would count what the parent held when it forked.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
{body}
done = time.perf_counter()
print(json.dumps({{"imports (s)": imported - started, "first answer (s)": done - started,
                   "processor (s)": time.process_time(), "memory after imports (MiB)": floor,
                   "above imports (MiB)": peak() - floor, "peak memory (MiB)": peak()}}))
"""


def load(body: str, folder: Path) -> dict[str, float]:
    """Seconds to the first answer, and memory, of a fresh process."""
    command = [sys.executable, "-c", FRAME.format(body=body), str(folder), TEXT]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main(
    arch: Annotated[list[str], typer.Option(help="may be given several times")] = ["bert-base", "minilm-l6"],  # noqa: B006
    layers: Annotated[int | None, typer.Option(min=1, help="depth, if other than the architecture's")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="fresh processes of every way")] = 3,
    precision: Annotated[str, typer.Option(help="of the packed model")] = "1-1-8",
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print seconds and MiB, medians over fresh processes that take turns."""
    result = {"device": processor(), "repeats": repeats, "precision": precision, **installed(), "load": {}}
    modules = {"OpenVINO": "openvino", "CTranslate2 int8": "ctranslate2"}
    floating = {name: body for name, body in FLOATING.items() if importlib.util.find_spec(modules.get(name, "torch"))}
    with tempfile.TemporaryDirectory() as name:
        for kind in arch:
            full, packed = random_models(config_of(kind, layers), Path(name) / kind)
            for weights in ("int8", "matmulnbits"):
                Runtime(packed[precision], weights)
            ways = {way: (body, full) for way, body in floating.items()}
            ways |= {way: (body, packed[precision]) for way, body in PACKED.items()}
            found = [{way: load(*at) for way, at in ways.items()} for _ in range(repeats)]
            table = pd.DataFrame({way: pd.DataFrame([turn[way] for turn in found]).median() for way in ways}).T
            typer.echo(f"\n{kind}\n{table.round(2).to_string()}")
            result["load"][f"{kind}{f' of {layers} layers' if layers else ''}"] = table.to_dict("index")
            write(result, output)


if __name__ == "__main__":
    typer.run(main)
