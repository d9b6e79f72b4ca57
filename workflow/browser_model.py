"""Writes the students that the page "Try it" runs in the reader's browser, from their trained weights."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
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
from xtcq.study import Record, is_trained, load_record, load_student, record_path, records_folder
from xtcq.tasks import task_spec

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


def write_model(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    sentences: Sequence[str] = SENTENCES,
) -> dict[str, Any]:
    """Writes the integer graph of a trained student, compressed.

    Args:
        model: quantized, not frozen yet; it is changed.
        tokenizer: its own; texts are cut at its `model_max_length`.
        path: the file to write.
        sentences: texts that its logits are wanted for.

    Returns:
        `file` and its `bytes`, and `logits`, [sentences, labels], as onnxruntime computes them in Python.

    Raises:
        ValueError: if the student cannot run as integers, see `export_onnx`.
        OSError: if the file cannot be written.
    """
    freeze(model)
    positions = model.bert.embeddings.position_embeddings
    if type(positions) is nn.Embedding:  # rows that no text reaches need not travel
        positions.weight = nn.Parameter(positions.weight.detach()[: tokenizer.model_max_length].clone())
    with TemporaryDirectory() as scratch:
        graph = export_onnx(model, Path(scratch) / "model.onnx").read_bytes()
    # A byte that is -1 or +1 takes 1.2 bits: near what packing them would give, without another format.
    path.write_bytes(gzip.compress(graph, 9, mtime=0))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = [_logits(session, tokenizer, sentence) for sentence in sentences]
    return {"file": path.name, "bytes": path.stat().st_size, "logits": logits}


def _logits(session: onnxruntime.InferenceSession, tokenizer: PreTrainedTokenizerBase, sentence: str) -> list[float]:
    encoding = tokenizer(sentence, truncation=True, max_length=tokenizer.model_max_length, return_token_type_ids=True)
    inputs = {entry.name: np.array([encoding[entry.name]], np.int64) for entry in session.get_inputs()}
    return [round(float(value), 7) for value in session.run(["logits"], inputs)[0][0]]


def write_vocabulary(tokenizer: PreTrainedTokenizerBase, path: Path) -> dict[str, Any]:
    """Writes the word pieces, one a line in the order of their ids, compressed; returns `file` and its `bytes`."""
    ids = tokenizer.get_vocab()
    text = "".join(f"{piece}\n" for piece in sorted(ids, key=ids.__getitem__))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return {"file": path.name, "bytes": path.stat().st_size}


def write_page_model(records: Sequence[Record], folder: Path) -> None:
    """Writes everything that the page needs: the models, their vocabulary, `models.json` for it and a table to read.

    Args:
        records: of trained students of SST-2, the first of them what the page loads first.
        folder: where the files go; what was there before of other students is deleted.

    Raises:
        ValueError: if a student is of another task, is not quantized, or its weights are not on this machine.
    """
    for record in records:
        experiment = record.experiment
        if experiment.task != TASK or not experiment.quantized:
            raise ValueError(f"{record.digest} is {experiment}: expected a quantized student of {TASK}")
        if not is_trained(experiment):
            raise ValueError(
                f"the weights of {record.digest} are not on this machine: set XTCQ_RUNS to the folder that has them, "
                "or train it with `python -m xtcq run`"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx.gz"):
        old.unlink()
    models = []
    for record in records:
        experiment = record.experiment
        model, tokenizer = load_student(experiment)
        path = folder / f"{TASK}-{experiment.precision}-{record.digest}.onnx.gz"
        written = write_model(model, tokenizer, path)
        models.append({"precision": str(experiment.precision), "record": record.digest} | written)
    page = {
        "labels": LABELS,
        "max_length": tokenizer.model_max_length,
        "vocabulary": write_vocabulary(tokenizer, folder / "vocabulary.txt.gz"),
        "sentences": SENTENCES,
        "models": models,
    }
    (folder / "models.json").write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / "models.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_table(records, models))


def _table(records: Sequence[Record], models: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One line a student, and one for the teacher that the first was trained with, in floating point."""
    score = task_spec(TASK).primary_metric
    lines = [
        (f"{model['precision']} `{record.digest}`", f"{model['bytes'] / 1e6:.1f} MB", f"{record.best[score]:.1f}")
        for record, model in zip(records, models, strict=True)
    ]
    if teacher := records[0].experiment.teacher:
        taught = load_record(record_path(teacher))
        size = f"{taught.size['parameters'] * 4 / 1e6:.1f} MB, not offered here"
        lines.append((f"{teacher.precision} `{taught.digest}`", size, f"{taught.best[score]:.1f}"))
    return lines


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
