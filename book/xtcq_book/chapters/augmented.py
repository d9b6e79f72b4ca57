"""What augmentation makes of a task: how many sentences, and which."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from xtcq.encoder import load_encoder
from xtcq.tasks import Task, load_augmented_task, load_task, task_spec
from xtcq_book import published


def sizes(tasks: Iterable[str], source: str, model: str) -> pd.DataFrame:
    """Training examples with and without added sentences, beside XTC's Table C.1.

    Args:
        tasks: names of tasks.
        source: where words come from, see ``xtcq.tasks.load_augmented_task``.
        model: name of the encoder.

    Returns:
        Columns ``examples``, ``with added sentences``, ``growth`` and ``growth in the paper``, indexed by the task's
        printed name; NaN where the paper has no such task.
    """
    printed = published.load("xtc-c1").set_index(["row", "metric"])["value"]
    rows = {}
    for name in tasks:
        before, after = len(load_task(name).train), len(_augmented(name, source, model).train)
        title = task_spec(name).title
        paper = printed.get(("Train (DA)", title), math.nan) / printed.get(("Train (noDA)", title), math.nan)
        rows[title] = [before, after, after / before, paper]
    columns = ["examples", "with added sentences", "growth", "growth in the paper"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("task")


def examples(task: str, source: str, model: str, added: int = 6) -> pd.DataFrame:
    """The first training example of a task and the first ones made from it.

    Args:
        task: name of a task.
        source: where words come from.
        model: name of the encoder.
        added: how many to show.

    Returns:
        The text columns and the label; the original is the first row.
    """
    return _augmented(task, source, model).train.head(1 + added)


def _augmented(name: str, source: str, model: str) -> Task:
    encoder, tokenizer = load_encoder(model, task_spec(name).num_labels)
    return load_augmented_task(name, source, encoder, tokenizer)
