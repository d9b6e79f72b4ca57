"""What a score on a development set is worth: its standard error, and what a model gets that has learned nothing."""

from __future__ import annotations

import math

from xtcq.tasks import TaskSpec

_CORRELATIONS = ("matthews", "pearson", "spearman")


def standard_error(spec: TaskSpec, score: float) -> float | None:
    """Standard error of a task's primary metric over development sets of the same size.

    Args:
        spec: the task.
        score: in per cent.

    Returns:
        Points; that of a share for accuracies (binomial), :math:`(1 - r^2) / \\sqrt{n - 1}` for Pearson correlations
        (large samples of normal values), and None for metrics whose error their value does not give.
    """
    examples, share = spec.rows[spec.evaluation_splits[0]], score / 100
    if spec.primary_metric == "accuracy":
        return 100 * math.sqrt(share * (1 - share) / examples)
    if spec.primary_metric == "pearson":
        return 100 * (1 - share**2) / math.sqrt(examples - 1)
    return None


def chance(spec: TaskSpec) -> float | None:
    """The primary metric, in per cent, of a model that always gives one answer.

    Args:
        spec: the task.

    Returns:
        The share of the most frequent class for accuracies, 0 for correlations, None where it is not known.
    """
    if spec.primary_metric in _CORRELATIONS:
        return 0.0
    if spec.majority is None or spec.primary_metric != "accuracy":
        return None
    return 100 * spec.majority / spec.rows[spec.evaluation_splits[0]]
