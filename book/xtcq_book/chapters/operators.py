"""Where the time of an ONNX graph goes, operator by operator."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
import pandas as pd

from xtcq.deploy.runtime import session_options
from xtcq_book.chapters.serving import Batch

# What the operators of an encoder's graph are there for; those that are not named move data or add things up.
PARTS = {
    "products of integers": ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"),
    "products of floats": ("MatMul", "Gemm", "FusedMatMul"),
    "quantizing activations": (
        "QuantizeLinear", "DynamicQuantizeLinear", "ReduceMin", "ReduceMax", "Max", "Neg", "Div", "Expand", "Shape",
    ),
    "attention": ("MultiHeadAttention", "Attention", "Softmax"),
    "LayerNorm": ("LayerNormalization", "SkipLayerNormalization"),
    "GELU": ("BiasGelu", "Gelu", "FastGelu", "Erf"),
}  # fmt: skip
OTHER = "scales, embeddings, other"


def parts(graphs: Mapping[str, Path], batches: Sequence[Batch], threads: int | None = None) -> pd.DataFrame:
    """Where the time goes, by onnxruntime's own profiler.

    Args:
        graphs: ONNX files by name.
        batches: run once each, after a round that is not counted.
        threads: of onnxruntime; all physical cores by default.

    Returns:
        Milliseconds of a batch on average: one row a graph, one column a part of `PARTS`, and `OTHER`.
    """
    part_of = {operator: part for part, operators in PARTS.items() for operator in operators}
    rows = {}
    for name, path in graphs.items():
        spent = dict.fromkeys([*PARTS, OTHER], 0.0)
        for event in _kernels(path, batches, threads):
            spent[part_of.get(event["args"]["op_name"], OTHER)] += event["dur"] / 1000 / len(batches)
        rows[name] = spent
    return pd.DataFrame(rows).T.rename_axis("graph")


def _kernels(path: Path, batches: Sequence[Batch], threads: int | None) -> list[dict]:
    """The profiler's events of operators in the second round over the batches."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for batch in [*batches, *batches]:
            session.run(None, dict(batch))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    second = runs[len(batches)]
    return [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time") and e["ts"] >= second]
