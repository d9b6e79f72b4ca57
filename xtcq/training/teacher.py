"""Whether a teacher knows its task: asked before a student learns from it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from xtcq.quantization import quantized_layers
from xtcq.tasks import QuestionSpec, Task, encode

_EXAMPLES, _BATCH = 256, 32


class TeacherWarning(UserWarning):
    """A teacher answers no better than a constant, or as if the classes were numbered otherwise."""


def check_teacher(teacher: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """Score a teacher on examples of the main evaluation split, and warn if it does not fit their labels.

    A classifier does not if it is right no more often than the most frequent class, or if its answers fit clearly
    better after its classes are renumbered: the best numbering is found by assignment (``scipy.optimize.
    linear_sum_assignment``), and is clearly better where it wins more than two standard errors of the examples that the
    two numberings tell apart. A regression does not fit if its mean squared error is at least the variance of the
    labels. Nothing random is drawn, and the teacher stays as it was. Questions and quantized teachers are not checked.

    Warns:
        TeacherWarning: it does not fit, with its score and the remedy.
    """
    # The first batch that a quantizer sees decides its step, which is the training's to choose.
    if isinstance(task.spec, QuestionSpec) or quantized_layers(teacher):
        return
    frame = next(iter(task.evaluation.values()))
    frame = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(_EXAMPLES, len(frame))).astype(int))]
    logits, labels = _logits(teacher, task, tokenizer, frame), frame["label"].to_numpy()
    if task.spec.is_regression:
        error = float(np.mean((logits[:, 0] - labels) ** 2))
        if len(labels) > 1 and error >= labels.var():
            _warn(
                f"on {len(labels)} examples the teacher's mean squared error is {error:.3g}, and always answering the "
                f"labels' mean has {labels.var():.3g}: give the classifier's own scale of labels, or another teacher"
            )
        return
    answers = logits.argmax(1)
    score, majority = np.mean(answers == labels), np.bincount(labels).max() / len(labels)
    said = f"on {len(labels)} examples the teacher is right in {100 * score:.1f} %"
    if better := renumbering(labels, answers, task.spec.num_labels):
        names: Any = teacher.config.id2label
        meant = ", ".join(f"{label} for {names.get(answer, answer)}" for answer, label in enumerate(better))
        after = np.mean(np.asarray(better)[answers] == labels)
        _warn(
            f"{said}, and would be in {100 * after:.1f} % if the classes were numbered otherwise: the labels seem to "
            f"have {meant}; renumber them as model.config.id2label, or give names with labels=model.config.id2label"
        )
    elif score <= majority:
        _warn(
            f"{said}, and always answering the most frequent class in {100 * majority:.1f} %: fine-tune it on the task "
            "first, or give the labels that it was trained on"
        )


def renumbering(labels: ArrayLike, answers: ArrayLike, classes: int) -> list[int] | None:
    """Find a numbering of the classes under which a teacher's answers fit labels clearly better.

    Returns:
        The label that each answer stands for; None where the numbering is the best or no other is clearly better.
    """
    labels, answers = np.asarray(labels), np.asarray(answers)
    confusion = confusion_matrix(answers, labels, labels=range(classes))
    _, best = linear_sum_assignment(confusion, maximize=True)
    moved = best != np.arange(classes)
    won, lost = confusion[moved, best[moved]].sum(), np.diag(confusion)[moved].sum()
    right, majority = best[answers] == labels, confusion.sum(0).max()
    # Of the examples that one of the two gets right, those that the other does not; and no constant does as well.
    clear = won - lost > 2 * np.sqrt(won + lost) and right.sum() > majority + np.sqrt(len(labels)) / 2
    return best.tolist() if clear else None


@torch.no_grad()
def _logits(
    teacher: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerBase, frame: pd.DataFrame
) -> np.ndarray:
    data, training = encode(frame, task.spec, tokenizer), teacher.training
    teacher.eval()
    found, collate = [], DataCollatorWithPadding(tokenizer)
    # No DataLoader: it would draw from the global generator, and the training after it would be another one.
    for start in range(0, len(data), _BATCH):
        rows = [data[i] for i in range(start, min(start + _BATCH, len(data)))]
        rows = [{name: value for name, value in row.items() if name != "labels"} for row in rows]
        inputs = {name: values.to(teacher.device) for name, values in collate(rows).items()}
        found.append(teacher(**inputs).logits.float().cpu().numpy())
    teacher.train(training)
    return np.concatenate(found)


def _warn(message: str) -> None:
    warnings.warn(message, TeacherWarning, stacklevel=4)
