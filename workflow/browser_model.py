"""Writes the students that the page "Try it" runs in the reader's browser, from their trained weights."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from torch import nn
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from xtcq import freeze
from xtcq.deploy.export import export_onnx
from xtcq.study import Experiment, Record, is_trained, load_record, load_student, record_path, records_folder
from xtcq.tasks import load_task

FOLDER = Path(__file__).resolve().parents[1] / "book" / "_static" / "try-it"
TASK, LABELS = "sst2", ("negative", "positive")
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


def integer_graph(model: BertForSequenceClassification, max_length: int) -> bytes:
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


def run_graph(graph: bytes, tokenizer: PreTrainedTokenizerBase, sentences: Iterable[str]) -> np.ndarray:
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
        records: of trained students of SST-2, the first of them what the page loads first.
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

    def load(experiment: Experiment) -> tuple[bytes, PreTrainedTokenizerBase, str]:
        model, tokenizer = load_student(experiment)
        graph = integer_graph(freeze(model) if experiment.quantized else model, tokenizer.model_max_length)
        right = run_graph(graph, tokenizer, examples["sentence"]).argmax(1) == examples["label"].to_numpy()
        return graph, tokenizer, f"{100 * right.mean():.1f}"

    models, table = [], []
    for record in records:
        graph, tokenizer, accuracy = load(record.experiment)
        precision, path = str(record.experiment.precision), folder / f"{TASK}-{record.digest}.onnx.gz"
        # A byte that is -1 or +1 takes 1.2 bits then: near what packing it would give, without another format.
        path.write_bytes(gzip.compress(graph, 9, mtime=0))
        size = path.stat().st_size
        logits = [[round(float(value), 7) for value in row] for row in run_graph(graph, tokenizer, SENTENCES)]
        models.append(
            {"precision": precision, "record": record.digest, "file": path.name, "bytes": size, "logits": logits}
        )
        table.append((f"{precision} `{record.digest}`", f"{size / 1e6:.1f} MB", accuracy))
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
        table.append((f"{teacher.precision} `{teacher.digest}`", f"{size:.1f} MB, not offered here", load(teacher)[2]))
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
