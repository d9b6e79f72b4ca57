"""The widths of an experiment's allocation, chosen once before its training begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from xtcq.allocation import Allocation, SearchSpace, choose_widths
from xtcq.files import write_atomically
from xtcq.quantization import set_widths
from xtcq.tasks import Task, encode


def allocate(
    settings: Allocation,
    student: PreTrainedModel,
    reference: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> dict[str, Any]:
    """Choose the widths of a student and set them; a run that goes on takes those that it began with.

    Args:
        settings: a method that does not explore.
        student: quantized, changed in place.
        reference: the same weights in full precision; moved to the accelerator if there is one.
        task: the training data that a sensitivity is measured on.
        tokenizer: the student's.
        folder: of the run; keeps the choice.

    Returns:
        The report of ``xtcq.allocation.choose_widths``.

    Raises:
        ValueError: nothing of the student is quantized with learned steps.
    """
    stored = folder / "allocation.json"
    if not stored.exists():
        space = SearchSpace.of(student, settings.least, settings.most)
        reference.to("cuda" if torch.cuda.is_available() else "cpu")
        batches = calibration_batches(task, tokenizer, settings.batches, settings.seed)
        _, report = choose_widths(settings, space, reference, batches)
        write_atomically(stored, json.dumps(report))
    report = json.loads(stored.read_text())
    set_widths(student, {name: tuple(pair) for name, pair in report["widths"].items()})
    return report


def calibration_batches(
    task: Task, tokenizer: PreTrainedTokenizerBase, count: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Yield padded batches of training examples, drawn without replacement.

    Args:
        task: the data; batches have the task's size.
        tokenizer: of the model.
        count: number of batches; fewer if the training set has fewer.
        seed: of the draw.

    Yields:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` and ``labels``.
    """
    size = task.spec.batch_size
    rows = task.train.sample(n=min(count * size, len(task.train)), random_state=seed)
    data, collate = encode(rows, task.spec, tokenizer), DataCollatorWithPadding(tokenizer)
    for first in range(0, len(data), size):
        yield dict(collate([data[i] for i in range(first, min(first + size, len(data)))]))
