"""The examples of a development set: what always answering alike scores, and what each example adds to a score."""

from __future__ import annotations

import os
from functools import cache
from math import nan

import numpy as np
import pandas as pd

from xtcq.hub import local_folder
from xtcq.study.records import Record
from xtcq.tasks import QuestionSpec, chance_level, load_task, task_spec
from xtcq.tasks.metrics import CORRELATIONS
from xtcq.tasks.squad.metrics import score_answer


def majority(task: str) -> float:
    """Score of always giving the most frequent answer, counted from the labels where the task does not say it.

    Returns:
        Per cent; nan where the labels would have to be counted and are not at hand.
    """
    spec = task_spec(task)
    if (known := chance_level(spec)) is not None:
        return known
    frame = _examples(task)
    if frame is None:
        return nan
    if isinstance(spec, QuestionSpec):  # "there is no answer" is right where there is none
        return 100 * float(np.mean([not gold["text"] for gold in frame["answers"]]))
    return 100 * float(frame["label"].value_counts(normalize=True).max())


def influence(record: Record, score: str) -> np.ndarray | None:
    """What each example of the development set adds to a Record's primary metric.

    Its mean is zero, and the mean of its squares over the number of examples is the variance of the metric over other
    sets of examples: what a bootstrap over the examples estimates by drawing (the infinitesimal jackknife, exact for a
    mean). Influences of several Records on the same examples may be added and subtracted before they are squared.

    Returns:
        Of shape (examples,), in per cent; None where `XTCQ_DATA` does not have the labels, or the Record has no
        predictions.

    Raises:
        ValueError: the predictions are not one an example, or give another score with the labels than the Record says.
    """
    spec = record.experiment.spec
    if record.predictions is None:
        return None
    made, count = record.predictions[score][spec.main_split], spec.rows[spec.main_split]
    if len(made) != count:
        raise ValueError(
            f"the Record {record.digest} of «{record.experiment}» holds {len(made):,} predictions at {score}, and the "
            f"development set of {spec.title} has {count:,} examples: run the experiment again"
        )
    frame = _examples(spec.name)
    if frame is None:
        return None
    slack = 0.02
    if isinstance(spec, QuestionSpec):
        gold = [answers["text"] for answers in frame["answers"]]
        parts = [score_answer(*pair, spec.unanswerable)[1] for pair in zip(made, gold, strict=True)]
        found, each = float(np.mean(parts)), np.array(parts) - np.mean(parts)
    else:
        predicted = np.array([int(digit, 16) for digit in made] if isinstance(made, str) else made, dtype=float)
        found, each = _of_labels(frame["label"].to_numpy(float), predicted, spec.primary_metric in CORRELATIONS)
        if spec.is_regression:  # stored to 1e-4, which a student that predicts nearly one number hardly exceeds
            slack += 0.01 / max(float(np.std(predicted)), 1e-4)
    said = getattr(record, score)[spec.primary_metric]
    if abs(100 * found - said) > slack:
        raise ValueError(
            f"the predictions at {score} of the Record {record.digest} give {100 * found:.2f} on the data in "
            f"{os.environ['XTCQ_DATA']}, and the Record says {said:.2f}: one of them was changed; use the data that it "
            "was run on, or run the experiment again"
        )
    return 100 * each


def _of_labels(labels: np.ndarray, predicted: np.ndarray, correlates: bool) -> tuple[float, np.ndarray]:
    if not correlates:
        right = labels == predicted
        return float(right.mean()), right - right.mean()
    if np.ptp(predicted) == 0:
        return 0.0, np.zeros(len(labels))
    # Matthews correlation is Pearson's of two classes.
    x, y = ((values - values.mean()) / values.std() for values in (labels, predicted))
    found = float((x * y).mean())
    return found, x * y - found * (x**2 + y**2) / 2


def _examples(task: str) -> pd.DataFrame | None:
    return _read(task, os.environ.get("XTCQ_DATA"))


@cache
def _read(task: str, root: str | None) -> pd.DataFrame | None:
    """The main development set, if it lies in `XTCQ_DATA`: a page that is only drawn asks no hub for it."""
    spec = task_spec(task)
    if local_folder("XTCQ_DATA", *([spec.release] if isinstance(spec, QuestionSpec) else ["glue", task])) is None:
        return None
    try:
        return load_task(task).evaluation[spec.main_split]
    except FileNotFoundError:  # a folder without this task's training split
        return None
