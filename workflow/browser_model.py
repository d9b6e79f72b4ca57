"""Writes the students that the page "Try it" runs in the reader's browser, from their trained weights."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from onnx.external_data_helper import set_external_data
from torch import nn
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from xtcq import QuantLinear, freeze
from xtcq.deploy.export import export_onnx
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.study import Record, is_trained, load_record, load_student, record_path, records_folder
from xtcq.tasks import load_task

FOLDER = Path(__file__).resolve().parents[1] / "book" / "_static" / "try-it"
TASK, LABELS = "sst2", ("negative", "positive")
# Bytes from which a constant is worth being read from another file.
_LARGE = 1024
# Compared with Python by the page itself. Accents, a contraction, digits, symbols, another script, and one text that is
# too long: what a tokenizer may get wrong.
SENTENCES = (
    "A warm, funny and quietly devastating film.",
    "Two hours of my life that nobody will give back.",
    "The café scenes are charming; the rest isn't.",
    "I expected nothing, and was still disappointed!",
    "An unforgettable performance, naïve and fearless, by its young lead.",
    "It cost $200,000,000 and looks like $12.50.",
    "Not bad at all: clever plot, sharp dialogue, 10/10.",
    "The director of 七人の侍 would have cut half of it.",
    "ANTIDISESTABLISHMENTARIANISM: THE MOVIE. Exactly as exciting as it sounds...",
    "It begins well and it begins slowly, " + "and then it begins again, " * 15 + "and I loved it.",
)


def to_graph(model: BertForSequenceClassification, max_length: int) -> bytes:
    """Returns the ONNX graph of a trained model.

    Args:
        model: frozen, or in floating point; it loses the positions that it does not need.
        max_length: of a text in word pieces. The positions behind it need not travel.

    Raises:
        ValueError: if the student cannot run as integers, see `export_onnx`.
    """
    positions = model.bert.embeddings.position_embeddings
    if type(positions) is nn.Embedding:
        positions.weight = nn.Parameter(positions.weight.detach()[:max_length].clone())
    with TemporaryDirectory() as scratch:
        return export_onnx(model, Path(scratch) / "model.onnx").read_bytes()


def in_floating_point(model: BertForSequenceClassification) -> None:
    """Takes the quantizers of activations out of a frozen student: what is left multiplies its weights in fp32.

    In place. What an engine does then is what it does for a teacher of this shape, product by product, and the weights
    take no more bytes.
    """
    for layer in model.modules():
        if isinstance(layer, QuantLinear):
            layer.input_quantizer = None


def without_what_is_in(file: bytes, name: str, graph: bytes) -> bytes:
    """Returns a graph that reads its large constants from within another model's file, where that has the same ones.

    Args:
        file: the other model.
        name: of the file, by which an engine is told of it.
        graph: the ONNX graph.
    """
    model = onnx.load_from_string(graph)
    for constant in model.graph.initializer:
        data = constant.raw_data
        if len(data) >= _LARGE and (place := file.find(data)) >= 0:
            set_external_data(constant, name, place, len(data))
            constant.ClearField("raw_data")
    return model.SerializeToString()


def run_graph(graph: bytes | Path, tokenizer: PreTrainedTokenizerBase, sentences: Iterable[str]) -> np.ndarray:
    """Returns what onnxruntime computes, one sentence at a time: logits, float32 [sentences, labels]."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = []
    for sentence in sentences:
        encoding = tokenizer(
            sentence, truncation=True, max_length=tokenizer.model_max_length, return_token_type_ids=True
        )
        inputs = {entry.name: np.array([encoding[entry.name]], np.int64) for entry in session.get_inputs()}
        logits.append(session.run(["logits"], inputs)[0][0])
    return np.stack(logits)


def write_vocabulary(tokenizer: PreTrainedTokenizerBase, path: Path) -> dict[str, Any]:
    """Writes the word pieces, one a line in the order of their ids, compressed; returns `file` and its `bytes`."""
    ids = tokenizer.get_vocab()
    text = "".join(f"{piece}\n" for piece in sorted(ids, key=ids.__getitem__))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return {"file": path.name, "bytes": path.stat().st_size}


def write_page_model(records: Sequence[Record], folder: Path) -> None:
    """Writes everything that the page needs: the models, their vocabulary, `models.json` for it and a table to read.

    Accuracies in the table are measured here, on the development set: they are those of the files themselves, and of
    the very weights that taught the first of them. A teacher trained again need not score what its Record says.

    Args:
        records: of trained students of SST-2, the first of them what the page loads first, and offers a second time
            with everything in floating point.
        folder: where the files go; what was there before of other students is deleted.

    Raises:
        ValueError: if a student is of another task, is not quantized, cannot run as integers, or its weights are not on
            this machine.
        FileNotFoundError: if there is no data of the task.
    """
    for record in records:
        experiment = record.experiment
        if experiment.task != TASK or not experiment.quantized:
            raise ValueError(f"{record.digest} is {experiment}: expected a quantized student of {TASK}")
        if not is_trained(experiment):
            raise ValueError(
                f"the weights of {record.digest} are not on this machine: set XTCQ_RUNS to the folder that has them, "
                "or make them with `python -m xtcq run --weights`"
            )
    examples = next(iter(load_task(TASK).evaluation.values()))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx.gz"):
        old.unlink()
    models: list[dict[str, Any]] = []
    table: list[tuple[str, str, str]] = []

    def accuracy(graph: bytes, tokenizer: PreTrainedTokenizerBase) -> str:
        right = run_graph(graph, tokenizer, examples["sentence"]).argmax(1) == examples["label"].to_numpy()
        return f"{100 * right.mean():.1f}"

    for record in records:
        student, tokenizer = load_student(record.experiment)
        precision, name = Precision.parse(record.experiment.precision), f"{TASK}-{record.digest}.onnx.gz"
        integers = to_graph(freeze(student), tokenizer.model_max_length)
        offers = [(str(precision), {"file": name}, integers, integers)]
        if not models:
            in_floating_point(student)
            floats = to_graph(student, tokenizer.model_max_length)
            files = {"file": name.replace(".", "-fp32.", 1), "within": name}
            travels = without_what_is_in(integers, name, floats)
            offers.append((f"{replace(precision, activations=FLOAT_BITS)} in fp32", files, floats, travels))
        for label, files, graph, travels in offers:
            path = folder / files["file"]
            path.write_bytes(gzip.compress(travels, 9, mtime=0))
            size = path.stat().st_size
            logits = [[round(float(value), 7) for value in row] for row in run_graph(graph, tokenizer, SENTENCES)]
            models.append({"precision": label, "record": record.digest, **files, "bytes": size, "logits": logits})
            bytes_ = f"{size / 1e3:.0f} kB beside the first" if "within" in files else f"{size / 1e6:.1f} MB"
            table.append((f"{label} `{record.digest}`", bytes_, accuracy(graph, tokenizer)))
    page = {
        "labels": LABELS,
        "max_length": tokenizer.model_max_length,
        "vocabulary": write_vocabulary(tokenizer, folder / "vocabulary.txt.gz"),
        "sentences": SENTENCES,
        "models": models,
    }
    (folder / "models.json").write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    teacher = records[0].experiment.teacher
    if teacher is not None and is_trained(teacher):
        size = load_record(record_path(teacher)).size["parameters"] * 4 / 1e6
        score = accuracy(to_graph(load_student(teacher)[0], tokenizer.model_max_length), tokenizer)
        table.append((f"{teacher.precision} `{teacher.digest}`", f"{size:.1f} MB, not offered here", score))
    with (folder / "models.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)


def main(
    digests: Annotated[list[str], typer.Argument(help="of the students' Records, the one to load first in front")],
    folder: Annotated[Path, typer.Option(help="where the files go")] = FOLDER,
) -> None:
    """Write the models of the page "Try it"."""
    try:
        write_page_model([load_record(records_folder() / f"{digest}.json") for digest in digests], folder)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    for path in sorted(folder.glob("*.gz")):
        typer.echo(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
