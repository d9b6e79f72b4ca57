"""How many sentences does augmentation make in a second?

Times `augment` on the first rows of real training sets with neighbours among the encoder's own word embeddings and
TinyBERT's number of tries. Every round starts anew: its time includes looking up the neighbours, and leaves out loading
the encoder and the data. Seconds on the clock depend on what else the machine does, which the load average tells (the
processes that wanted a core in the minute before); seconds of CPU time, of all threads, do so far less. Beside the
rates stands by how much the training set grows, and XTC's figure from Table C.1, which is for the whole set and
candidates from a masked language model.

    XTCQ_DATA=data python benchmarks/augmentation.py --task sst2 --task mrpc
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from common import write
from xtcq_book import published

from xtcq.encoder import load_encoder
from xtcq.tasks import load_task
from xtcq.tasks.augmentation import COPIES, Augmentation, Neighbours, augment


def measure(name: str, rows: int, rounds: int) -> dict[str, float]:
    """Seconds and sentences per second on the first rows of a task; medians over the rounds."""
    encoder, tokenizer = load_encoder("minilm-l6", 2)
    task = load_task(name)
    frame, columns = task.train.head(rows), task.spec.columns
    load, taken = os.getloadavg()[0], []
    for _ in range(rounds):
        clock, cpu = time.perf_counter(), time.process_time()
        source = Neighbours.from_encoder(encoder, tokenizer)
        result = augment(frame, columns, source, tokenizer, Augmentation(copies=COPIES[name]))
        taken.append({"seconds": time.perf_counter() - clock, "CPU seconds": time.process_time() - cpu})
    medians = pd.DataFrame(taken).median()
    sentences, new = len(frame) * len(columns), len(result) - len(frame)
    printed = published.load("xtc-c1").set_index(["row", "metric"])["value"]
    return {
        "rows": len(frame),
        "sentences": sentences,
        "copies": COPIES[name],
        "load average before": load,
        **medians,
        "sentences/s": sentences / medians["seconds"],
        "new sentences/s": new / medians["seconds"],
        "sentences/CPU s": sentences / medians["CPU seconds"],
        "new sentences/CPU s": new / medians["CPU seconds"],
        "growth": len(result) / len(frame),
        "growth in the paper": printed["Train (DA)", task.spec.title] / printed["Train (noDA)", task.spec.title],
    }


def main(
    task: Annotated[list[str], typer.Option(help="may be given several times")] = ["sst2", "mrpc"],  # noqa: B006
    rows: Annotated[int, typer.Option(min=1, help="the first so many training examples")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print sentences per second, and how much larger the training set becomes."""
    result = {
        "device": f"CPU {platform.machine()}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "tasks": {name: measure(name, rows, rounds) for name in task},
    }
    typer.echo(pd.DataFrame(result["tasks"]).T.round(2).to_string())
    write(result, output)


if __name__ == "__main__":
    typer.run(main)
