"""GLUE's metrics, and from which score on a model has learned something; all in per cent."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from xtcq.tasks.spec import QuestionSpec, TaskSpec


def _correlation(statistic: Callable[..., tuple[float, float]]) -> Callable[[np.ndarray, np.ndarray], float]:
    def correlate(labels: np.ndarray, predictions: np.ndarray) -> float:
        if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
            return 0.0
        return float(statistic(predictions, labels)[0])

    return correlate


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy_score,
    "f1": lambda labels, predictions: f1_score(labels, predictions, zero_division=0.0),
    "matthews": matthews_corrcoef,
    "pearson": _correlation(pearsonr),
    "spearman": _correlation(spearmanr),
}


def compute_metrics(spec: TaskSpec, logits: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Score predictions with the metrics of a task.

    A collapsed model is a result, so it gets a number: where predictions (or labels) are constant, Pearson and
    Spearman correlation are undefined and reported as 0.0, as Matthews correlation is; F1 without any predicted
    or true positive is 0.0.

    Args:
        spec: the task.
        logits: scores of shape (examples, num_labels); a regression task may also give (examples,).
        labels: true labels of shape (examples,).

    Returns:
        One value per key of ``spec.metrics``, in per cent. F1 is that of class 1.

    Raises:
        ValueError: if shapes do not fit the task, there is no example, or a logit is not finite.

    >>> from xtcq.tasks import compute_metrics, task_spec
    >>> compute_metrics(task_spec("rte"), [[2.0, 1.0], [0.0, 3.0]], [0, 0])
    {'accuracy': 50.0}
    """
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if spec.is_regression and scores.ndim == 1:
        scores = scores[:, None]
    if truth.ndim != 1 or len(truth) == 0 or scores.shape != (len(truth), spec.num_labels):
        raise ValueError(
            f"task {spec.name!r} expects logits of shape (examples, {spec.num_labels}) and as many labels, at least "
            f"one; got logits of shape {scores.shape} and labels of shape {truth.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"logits of task {spec.name!r} hold {np.count_nonzero(~np.isfinite(scores))} values that are not finite; "
            "the model has diverged, try a lower learning rate"
        )
    predictions = scores[:, 0] if spec.is_regression else scores.argmax(axis=1)
    return {key: 100.0 * float(_METRICS[key](truth, predictions)) for key in spec.metrics}


# A score without a most frequent class says nothing below this: CoLA's Matthews, other correlations, F1 of answers.
LEAST_MATTHEWS, LEAST_SCORE = 10.0, 30.0
CORRELATIONS = ("matthews", "pearson")


def chance_level(spec: TaskSpec) -> float | None:
    """Score without learning: the primary metric, in per cent, of always giving the most frequent answer.

    It is 0 for correlations and for questions that all have an answer, and None where labels would have to be counted.
    """
    if spec.primary_metric in CORRELATIONS or (isinstance(spec, QuestionSpec) and not spec.unanswerable):
        return 0.0
    return None if spec.majority is None else 100 * spec.majority / spec.rows[spec.main_split]


def standard_error(spec: TaskSpec, score: float) -> float | None:
    r"""Standard error, in points, of a task's primary metric over development sets of the same size, from its value.

    It is that of a share for an accuracy (binomial), :math:`(1 - r^2) / \sqrt{n - 1}` for a Pearson correlation (many
    values, normal), and None for metrics whose value alone does not give it.
    """
    examples, share = spec.rows[spec.main_split], score / 100
    if spec.primary_metric == "accuracy":
        return 100 * math.sqrt(share * (1 - share) / examples)
    return 100 * (1 - share**2) / math.sqrt(examples - 1) if spec.primary_metric == "pearson" else None


def least_score(spec: TaskSpec, chance: float) -> float:
    """The score, in per cent, above which a model has learned something.

    It is two (binomial) standard errors above ``chance``, see ``chance_level``, or a fixed value where that is 0.
    """
    if chance == 0:
        return LEAST_MATTHEWS if spec.primary_metric == "matthews" else LEAST_SCORE
    return chance + 2 * math.sqrt(chance * (100 - chance) / spec.rows[spec.main_split])


def has_learned(spec: TaskSpec, score: float) -> bool:
    """Whether a score of the primary metric, in per cent, lies above ``least_score``; True where chance is unknown."""
    chance = chance_level(spec)
    return chance is None or score > least_score(spec, chance)
