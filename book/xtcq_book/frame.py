"""Runs as rows: the one tidy frame of Records that tables and figures of the book are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from xtcq.study import Profile
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, as_taught, load_record, records_folder
from xtcq.tasks import chance_level, standard_error, task_spec
from xtcq_book import paper_rows
from xtcq_book.columns import COLUMNS, machine

# Times are comparable only where these two are equal.
DEVICE = ["device", "side by side"]


def of_scale(scale: Profile) -> list[Record]:
    """Every Record that there is of a scale's encoders and kind of task, whichever chapter asked for it."""
    models, synthetic = (scale.model, *scale.small_encoders), task_spec(scale.tasks[0]).synthetic
    every = (load_record(path) for path in sorted(records_folder(synthetic).glob("*.json")))
    return [r for r in every if r.experiment.model in models and r.experiment.spec.synthetic == synthetic]


def bits_squared(record: Record) -> float:
    """Mean over the weights of their bits times those of what they are multiplied with."""
    experiment, precision = record.experiment, record.experiment.quantization.precision
    if experiment.width_source == "uniform":
        return precision.weights * precision.activations
    return record.bitops / sum(experiment.matrices.values())


def _measured(record: Record, teacher: Record | None) -> dict[str, Any]:
    spec = record.experiment.spec
    metric = spec.primary_metric
    if teacher and record.teacher_scores and record.experiment.teacher != teacher.experiment:
        teacher = None  # its own teacher was trained again, and no Record says from which training of this one
    teacher = teacher and as_taught(teacher, record)
    best, steps = record.best[metric], record.history[-1]["step"]
    return {
        "metric": metric,
        "best": best,
        "last": record.last[metric],
        "minus teacher": best - teacher.best[metric] if teacher else math.nan,
        "standard error": standard_error(spec, best),
        "chance": chance_level(spec),
        "steps": steps,
        "nominal MiB": record.size["nominal_mib"],
        "packed MiB": record.size["packed_mib"],
        "bits²": bits_squared(record),
        "device": machine(record),
        "side by side": record.side_by_side,
        "hours": record.train_seconds / 3600,
        "wall hours": record.wall_seconds / 3600,
        "ms per step": 1000 * record.train_seconds / steps,
        "experiment": record.experiment,
        "record": record,
        "reference": teacher,
        "taught": teacher and tuple(sorted(teacher.best.items())),
    }


_NUMBERS = ["best", "last", "minus teacher", "standard error", "chance", "nominal MiB", "packed MiB", "bits²"]
_NUMBERS += ["hours", "wall hours", "ms per step"]
_MEASURED = ["metric", *_NUMBERS, "steps", *DEVICE, "experiment", "record", "reference", "taught"]


def to_frame(records: Iterable[Record], teachers: Iterable[Record] = (), scale: Profile | None = None) -> pd.DataFrame:
    """One row a run: what tells it apart, its scores, its sizes, its time.

    Args:
        records: Records of a chapter's grid.
        teachers: Records of the tasks' full-precision teachers, one a task.
        scale: the profile whose budgets name the lengths of training; without it there is no column ``budget``.

    Returns:
        The columns of ``columns.COLUMNS`` and ``budget`` (with the paper's where its row is of another length);
        ``metric``, the task's primary one, with its ``best`` and ``last`` value in per cent, ``minus teacher`` in
        points, the ``standard error`` that one such score has, and the score by ``chance`` (both NaN where they are not
        known); ``steps`` of the optimizer; sizes in MiB; ``bits²``, the mean of weight bits x activation bits over the
        weights; ``device`` (with the number format), ``side by side``, ``hours`` of training steps, ``wall hours`` with
        evaluations, and ``ms per step``; the ``experiment``, the ``record``, and the ``reference``: the teacher's
        Record, or None where it is not known, with the scores of the weights that the student learned from (see
        ``xtcq.study.records.as_taught``), which are ``taught`` in short: what tells two trainings of one teacher apart.
    """
    labels: dict[str, Callable[[Experiment], Any]] = dict(COLUMNS)
    if scale is not None:
        labels["budget"] = paper_rows.budget_label(scale)
    full = {teacher.experiment.task: teacher for teacher in teachers}
    rows = [
        {name: label(record.experiment) for name, label in labels.items()}
        | _measured(record, full.get(record.experiment.task))
        for record in records
    ]
    frame = pd.DataFrame(rows, columns=[*labels, *_MEASURED])
    return frame.astype(dict.fromkeys(_NUMBERS, float)).astype({"steps": int})


def evaluations(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an evaluation: the columns of ``runs`` with its ``score``, ``stage``, ``step`` and ``epoch``."""
    points = [
        {"run": run, "score": entry["metrics"][metric]} | {name: entry[name] for name in ("stage", "step", "epoch")}
        for run, record, metric in zip(runs.index, runs["record"], runs["metric"], strict=True)
        for entry in record.history
        if "metrics" in entry
    ]
    frame = pd.DataFrame(points, columns=["run", "score", "stage", "step", "epoch"])
    return frame.merge(runs, left_on="run", right_index=True)
