"""A packed student beside other backends for the same classifier on a processor: bytes, seconds, operators, answers.

Everywhere here ``backends`` are those of `make_backends`, ``batches`` those of `make_batches`, and ``seconds`` those of
`in_turns`; ``packed`` is the student's folder and ``full`` the teacher's. ``threads`` are onnxruntime's, all physical
cores by default; PyTorch takes its own setting.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from onnx import TensorProto
from onnxruntime.quantization import quantize_dynamic
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from xtcq.deploy.export import INPUTS, build_graph, export_onnx
from xtcq.deploy.runtime import Runtime, session_options
from xtcq.packing import load_packed
from xtcq.quantization import QuantizedTensor, QuantLinear, model_size, quantized_layers
from xtcq.quantization.cost import MIB
from xtcq.quiet import without_bars
from xtcq.tasks import EncodedDataset

PAUSE = 0.1  # seconds
BASELINE, PEER, OURS = "PyTorch fp32", "onnxruntime dynamic int8", "xtcq"
WEIGHTS_FILES = ("packed.safetensors", "model.safetensors")

# What the operators of an encoder's graph are there for; those that are not named move data or add things up.
PARTS = {
    "products of integers": ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"),
    "products of floats": ("MatMul", "Gemm", "FusedMatMul"),
    "quantizing activations": (
        "QuantizeLinear", "DynamicQuantizeLinear", "Abs", "ReduceMin", "ReduceMax", "Max", "Div", "Expand", "Shape",
    ),
    "attention": ("MultiHeadAttention", "Attention", "Softmax"),
    "LayerNorm": ("LayerNormalization", "SkipLayerNormalization"),
    "GELU": ("BiasGelu", "Gelu", "FastGelu", "Erf"),
}  # fmt: skip
OTHER = "scales, embeddings, other"

Batch = Mapping[str, np.ndarray]
Backend = Callable[[Batch], np.ndarray]


def save_full(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write a floating-point model with its tokenizer as transformers does, and return the folder."""
    with _quietly():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep bars of a single step and advice of the tools off the page."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with without_bars(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def make_backends(
    teacher: BertForSequenceClassification, packed: Path, scratch: Path, threads: int | None = None
) -> dict[str, Backend]:
    """Backends that serve: the teacher in floating point and with somebody's dynamic int8, the student in ours.

    onnxruntime's tool quantizes the graph that xtcq makes of the teacher, with the same fused operators and without
    what a classifier does not read, so this peer is as strong as it can be.

    The teacher has the student's shape; the graphs ``fp32.onnx``, ``int8.onnx`` and ``xtcq.onnx`` go into ``scratch``.

    Returns:
        Name to a function from a batch to logits [rows, labels].
    """
    teacher = teacher.eval()
    export_onnx(teacher, scratch / "fp32.onnx")
    export_onnx(packed, scratch / "xtcq.onnx")
    with _quietly():  # both tools advise to use another one
        # The tool takes the standard's attention for its own.
        kinds = ["MatMul", "Gather"]
        quantize_dynamic(scratch / "fp32.onnx", scratch / "int8.onnx", op_types_to_quantize=kinds)
        dynamic = torch.ao.quantization.quantize_dynamic(teacher, {torch.nn.Linear}, dtype=torch.qint8)
    return {
        BASELINE: pytorch(teacher),
        "PyTorch dynamic int8": pytorch(dynamic),
        "onnxruntime fp32": _onnx(scratch / "fp32.onnx", threads),
        PEER: _onnx(scratch / "int8.onnx", threads),
        OURS: Runtime(packed, threads=threads).logits,
    }


def pytorch(model: torch.nn.Module) -> Backend:
    """A classifier as a function of NumPy arrays."""

    def call(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()

    return call


def load_float64(packed: Path) -> PreTrainedModel:
    """The frozen model of a packed folder, computing in double precision: how far is float32 from the exact sums?"""
    return load_packed(packed).double()


def _onnx(path: Path, threads: int | None) -> Backend:
    session = onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, dict(batch))[0]


def make_batches(data: EncodedDataset, tokenizer: PreTrainedTokenizerBase, rows: int) -> list[dict[str, np.ndarray]]:
    """Batches of like length, padded to their longest row, shortest first.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids` of each batch, int64 [rows, tokens].
    """
    order = np.argsort(data.lengths, kind="stable")
    batches = []
    for start in range(0, len(order), rows):
        chosen = [data[int(row)] for row in order[start : start + rows]]
        padded = tokenizer.pad({name: [one[name] for one in chosen] for name in INPUTS}, return_tensors="np")
        batches.append({name: padded[name].astype(np.int64) for name in INPUTS})
    return batches


def answer(backend: Backend, data: EncodedDataset, tokenizer: PreTrainedTokenizerBase, rows: int = 32) -> np.ndarray:
    """Logits of every example, in the order of `data`; the arguments are those of `make_batches`."""
    found = np.concatenate([backend(batch) for batch in make_batches(data, tokenizer, rows)])
    logits = np.empty_like(found)
    logits[np.argsort(data.lengths, kind="stable")] = found
    return logits


def in_turns(backends: Mapping[str, Backend], batches: Sequence[Batch], rounds: int) -> pd.DataFrame:
    """Time every backend on every batch; they take turns, round by round, so that a drift of the machine hits all.

    Returns:
        Seconds, one row a round and batch, one column a backend; and ``rows`` of the batch.
    """
    turns = []
    for _ in range(rounds):
        turn = {"rows": [len(batch["input_ids"]) for batch in batches]}
        for name, backend in backends.items():
            # The threads of the backend before still spin for a while, and would slow this one down.
            time.sleep(PAUSE)
            for batch in (batches[0], batches[-1]):
                backend(batch)
            turn[name] = [_seconds(lambda batch=batch, backend=backend: backend(batch)) for batch in batches]
        turns.append(pd.DataFrame(turn))
    return pd.concat(turns, ignore_index=True)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def ratios(seconds: pd.DataFrame, other: str) -> pd.DataFrame:
    """How many times as fast as another backend each one was: one row a round and batch, one column a backend."""
    times = seconds.drop(columns="rows")
    return (1 / times).mul(times[other], axis=0).rename_axis(columns="backend")


def speeds(seconds: pd.DataFrame) -> pd.DataFrame:
    """Latency, throughput and speed in comparison, one row a backend.

    Returns:
        ``ms`` of a batch and ``texts/s``, medians over rounds and batches, and the median of how many times as fast as
        `BASELINE` and as `PEER`.
    """
    times = seconds.drop(columns="rows")
    return pd.DataFrame(
        {
            "ms": 1000 * times.median(),
            "texts/s": (1 / times).mul(seconds["rows"], axis=0).median(),
            f"× {BASELINE}": ratios(seconds, BASELINE).median(),
            f"× {PEER}": ratios(seconds, PEER).median(),
        }
    ).rename_axis("backend")


def sizes(teacher: PreTrainedModel, student: PreTrainedModel, packed: Path, full: Path, rest: str) -> pd.DataFrame:
    """Bytes of the two models: as the paper counts, as predicted, and as files; ``rest`` is how the student was packed.

    Returns:
        ``nominal``, ``predicted`` and ``file`` in MiB, ``file / predicted`` and ``times smaller`` than the teacher's
        file, one row a model.
    """
    measured = {"teacher, fp32": (model_size(teacher), full), "student, packed": (model_size(student, rest), packed)}
    rows = {}
    for name, (size, folder) in measured.items():
        (file,) = (path for path in folder.iterdir() if path.name in WEIGHTS_FILES)
        rows[name] = {"nominal": size.nominal_mib, "predicted": size.packed_mib, "file": file.stat().st_size / MIB}
    table = pd.DataFrame(rows).T.rename_axis("model")
    table["file / predicted"] = table["file"] / table["predicted"]
    return table.assign(**{"times smaller": table["file"].iloc[0] / table["file"]})


def first_predictions(full: Path, packed: Path, text: str, pair: str | None, repeats: int = 3) -> pd.Series:
    """Seconds from a folder on disk, which the system has read before, to the first prediction (medians of repeats)."""

    def baseline() -> None:
        tokenizer = AutoTokenizer.from_pretrained(full)
        model = BertForSequenceClassification.from_pretrained(full, dtype=torch.float32).eval()
        with torch.inference_mode():
            model(**tokenizer(text, pair, return_tensors="pt"))

    def ours() -> None:
        Runtime(packed).predict([text], None if pair is None else [pair])

    with _quietly():
        taken = [{BASELINE: _seconds(baseline), OURS: _seconds(ours)} for _ in range(repeats)]
    return pd.DataFrame(taken).median().rename("seconds")


def agreement(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """How near the logits [rows, labels] of two computations of one classifier come.

    Returns:
        ``rows``, ``other label`` (rows whose most probable label differs), ``widest margin`` (the greatest distance
        between the two highest expected logits of such a row, 0 without one), and the median, the 99th percentile
        and the maximum of the differences of logits. With a single label, a regression, no label can differ.
    """
    differences = np.abs(found - expected)
    other = found.argmax(1) != expected.argmax(1)
    ordered = np.sort(expected, axis=1)
    margins = ordered[:, -1] - ordered[:, -2:].min(axis=1)
    return {
        "rows": len(found),
        "other label": int(other.sum()),
        "widest margin": float(margins[other].max(initial=0.0)),
        "median": float(np.median(differences)),
        "99th percentile": float(np.quantile(differences, 0.99)),
        "maximum": float(differences.max()),
    }


def code_differences(model: PreTrainedModel, batches: Sequence[Batch]) -> pd.DataFrame:
    """Where the integers of a graph first leave those of the frozen model that it was made of.

    Two orders of adding give sums that differ in their last bits. Such a difference moves a code only if the sum lies
    on the boundary between two levels; whatever comes after that code differs for its sake.

    Args:
        model: frozen, with the input of every linear layer of the encoder quantized to signed codes (recipes "xtc" and
            "adaqat").
        batches: of `make_batches`.

    Returns:
        One row a text, in the order of the batches: ``logits``, the greatest difference of logits; ``codes``, how many
        differ in the input of the first layer that has any (0: none in all of them); ``levels``, by how many at most;
        and ``from boundary``, how far the values of those codes lay from the boundary between two levels at most, in
        levels.
    """
    graph = build_graph(model)
    # A product of integers for each layer, in the same order; layers that read the same codes share them.
    names = [node.input[0] for node in graph.graph.node if node.op_type == "MatMulIntegerToFloat"]
    read = list(dict.fromkeys(names))
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in read)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), session_options(1), ["CPUExecutionProvider"])
    inputs: list[tuple[torch.Tensor, QuantizedTensor]] = []

    def keep(layer: QuantLinear, given: tuple[torch.Tensor]) -> None:
        x = given[0] if given[0].dim() == 3 else given[0][:, None]  # the pooler reads a text's first token
        inputs.append((x, layer.input_quantizer.quantize(x)))

    layers = [one for one in quantized_layers(model).values() if getattr(one, "input_quantizer", None)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    found = []
    for batch in batches:
        inputs.clear()
        expected = pytorch(model)(batch)
        logits, *arrays = session.run(["logits", *read], dict(batch))
        codes = dict(zip(read, arrays, strict=True))
        rows = pd.DataFrame({"logits": np.abs(logits - expected).max(1), "codes": 0, "levels": 0, "from boundary": 0.0})
        for (x, there), name in zip(inputs, names, strict=True):
            here = codes[name].astype(int) - 128
            # Of the last layer, the graph computes a text's first token alone.
            place = (x / there.scale).numpy()[:, : here.shape[1]]
            there = there.codes.numpy()[:, : here.shape[1]].astype(int)
            other = (here != there) & (batch["attention_mask"][:, : here.shape[1], None] == 1)
            for row in np.flatnonzero(other.any((1, 2)) & (rows["codes"] == 0)):
                at = row, other[row]
                middle = (here[at] + there[at]) / 2
                far = np.abs(place[at] - middle).max()
                rows.loc[row, ["codes", "levels"]] = other[row].sum(), np.abs(here[at] - there[at]).max()
                rows.loc[row, "from boundary"] = far
        found.append(rows)
    for hook in hooks:
        hook.remove()
    return pd.concat(found, ignore_index=True)


def parts(graphs: Mapping[str, Path], batches: Sequence[Batch], threads: int | None = None) -> pd.DataFrame:
    """Where the time of ONNX graphs goes, by onnxruntime's own profiler, in a second round over the batches.

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
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("graph")


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
