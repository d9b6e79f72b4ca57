"""Widths that were chosen for students: found once on a trained teacher, then kept as data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from xtcq.files import write_atomically
from xtcq.quantization import Widths, get_widths
from xtcq.study.experiment import Experiment
from xtcq.study.records import runs_folder
from xtcq.study.runs import trained_student
from xtcq.study.students import build_student
from xtcq.tasks import Task, encode, load_task, task_spec
from xtcq.training import MAX_GRAD_NORM, WARMUP
from xtcq_book.allocators.fracbits import FracBits
from xtcq_book.allocators.program import cheapest
from xtcq_book.allocators.sensitivity import sensitivities
from xtcq_book.allocators.space import SearchSpace, random_widths

# Batches that a sensitivity is measured on, and sign vectors a batch for the Hessian.
BATCHES, PROBES = 8, 8
Key = tuple[str, str, float, int, int]
KEY = ("teacher", "method", "budget", "seed", "steps")  # the teacher's digest, and the steps of a search


def kept(task: str) -> dict[Key, dict[str, Any]]:
    """What was found so far: widths, and what finding them cost (``steps``, ``passes``, ``seconds``).

    Args:
        task: choices for real tasks are part of the book, beside this file; for made ones they lie among the runs.
    """
    path = _path(task)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {tuple(row[name] for name in KEY): row for row in rows}


def key(uniform: Experiment, method: str, budget: float, share: float) -> Key:
    """Under which the widths of a student are kept. FracBits alone searches, for a share of the student's steps."""
    steps = max(1, round(share * uniform.steps)) if method == "fracbits" else 0
    return uniform.teacher.digest, method, budget, uniform.seed, steps


def choose(uniform: Experiment, wanted: list[tuple[str, float]], share: float) -> None:
    """Find widths for the students of one teacher and keep them; the teacher is trained first if it was not.

    Args:
        uniform: a student of 8 bits, whose matrices get widths.
        wanted: methods (``"random"``, ``"fisher"``, ``"hessian"``, ``"fracbits"``) and budgets in bits squared a
            weight.
        share: of the student's training steps, that FracBits explores for.
    """
    found = kept(uniform.task)
    teacher, tokenizer = trained_student(uniform.teacher)
    task, device = load_task(uniform.task), "cuda" if torch.cuda.is_available() else "cpu"
    student = build_student(uniform, teacher)[0]
    space = SearchSpace.of(student)

    @cache  # one measurement serves all budgets
    def costs(metric: str) -> tuple[dict[str, Any], float]:
        started = time.perf_counter()
        measured = sensitivities(
            teacher.to(device), batches(task, tokenizer, BATCHES, uniform.seed), space, metric, PROBES, uniform.seed
        )
        return measured, time.perf_counter() - started

    for method, budget in wanted:
        named = key(uniform, method, budget, share)
        started, cost = time.perf_counter(), {"passes": 0, "seconds": 0.0}
        if method == "random":
            widths = random_widths(space, budget, uniform.seed)
        elif method == "fracbits":
            learner = build_student(uniform, teacher)[0].to(device)
            widths = explore(learner, budget, task, tokenizer, named[-1], uniform)
        else:
            measured, seconds = costs(method)
            started = time.perf_counter() - seconds
            widths = cheapest(measured, space, budget)
            # A forward and a backward pass a batch; every sign vector of the Hessian is one more backward pass.
            cost["passes"] = BATCHES * (2 + PROBES * (method == "hessian"))
        cost["seconds"] = round(time.perf_counter() - started, 2)
        found[named] = dict(zip(KEY, named, strict=True)) | cost | {"widths": widths}
        lines = ",\n".join(json.dumps(row) for row in found.values())
        write_atomically(_path(uniform.task), f"[\n{lines}\n]\n")


def explore(
    student: PreTrainedModel,
    budget: float,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    steps: int,
    experiment: Experiment,
) -> Widths:
    """Let FracBits find widths while a student, which is changed in place, learns from the labels.

    The experiment gives learning rate and seed; warm-up and decay are those of every training here.

    Returns:
        Widths within the budget.
    """
    search = FracBits(student, budget, steps=steps)
    optimizer = torch.optim.AdamW(student.parameters(), lr=experiment.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    epochs = (batches(task, tokenizer, len(task.train), experiment.seed + epoch) for epoch in count())
    student.train()
    for batch in islice(chain.from_iterable(epochs), steps):
        with search.observe():
            loss = student(**{name: value.to(student.device) for name, value in batch.items()}).loss
            loss.backward()
        search.step()
        torch.nn.utils.clip_grad_norm_(student.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return get_widths(student)


def batches(task: Task, tokenizer: PreTrainedTokenizerBase, most: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield padded batches of training examples, drawn without replacement.

    Yields:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` and ``labels``.
    """
    size = task.spec.batch_size
    rows = task.train.sample(n=min(most * size, len(task.train)), random_state=seed)
    data, collate = encode(rows, task.spec, tokenizer), DataCollatorWithPadding(tokenizer)
    for first in range(0, len(data), size):
        yield dict(collate([data[i] for i in range(first, min(first + size, len(data)))]))


def _path(task: str) -> Path:
    return runs_folder() / "choices.json" if task_spec(task).synthetic else Path(__file__).with_name("choices.json")
