"""What the papers print of a task, under our names of tasks and metrics, and the rule of XTC's "Avg."."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from xtcq.tasks import task_spec
from xtcq_book.arithmetic import table

# Columns of the papers' tables, by our task and metric.
PAPER_COLUMNS = {
    "cola": {"matthews": "CoLA Mcc"},
    "mnli": {"accuracy": "MNLI-m Acc", "accuracy_mm": "MNLI-mm Acc"},
    "mrpc": {"accuracy": "MRPC Acc", "f1": "MRPC F1"},
    "qnli": {"accuracy": "QNLI Acc"},
    "qqp": {"accuracy": "QQP Acc", "f1": "QQP F1"},
    "rte": {"accuracy": "RTE Acc"},
    "sst2": {"accuracy": "SST-2 Acc"},
    "stsb": {"pearson": "STS-B Pear", "spearman": "STS-B Spea"},
    "squad1": {"f1": "SQuAD v1.1 F1", "exact_match": "SQuAD v1.1 EM"},
    "squad2": {"f1": "SQuAD v2.0 F1", "exact_match": "SQuAD v2.0 EM"},
}
PAPER_TEACHER = ("xtc-c5", "BERT-base | n/a")
# The nine numbers of XTC's "Avg." (Tables C.2 to C.17). The paper does not state the rule; it was recovered from the
# rows of those tables. F1 and Spearman do not enter.
GLUE_NUMBERS: dict[str, tuple[str, ...]] = {
    "cola": ("matthews",),
    "mnli": ("accuracy", "accuracy_mm"),
    "mrpc": ("accuracy",),
    "qnli": ("accuracy",),
    "qqp": ("accuracy",),
    "rte": ("accuracy",),
    "sst2": ("accuracy",),
    "stsb": ("pearson",),
}
NINE = tuple(PAPER_COLUMNS[task][metric] for task, metrics in GLUE_NUMBERS.items() for metric in metrics)


def paper_score(name: str, row: str, task: str, metric: str | None = None) -> float:
    """One printed score of a paper.

    Returns:
        The value, or NaN if the paper has no such row, task or metric.
    """
    primary = task_spec(task).primary_metric
    column = PAPER_COLUMNS.get(task, {}).get(metric or primary, "")
    # AdaQAT-BERT's Table 3 leaves out the name of some tasks' first metric.
    columns = [column, column.split()[0]] if column and metric in (None, primary) else [column]
    return next((table(name).value(row, known) for known in columns if table(name).has(row, known)), math.nan)


def glue_average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Mean, over the tasks that are there, of the numbers that enter XTC's "Avg.", each number once."""
    return fmean(scores[task][name] for task, names in GLUE_NUMBERS.items() if task in scores for name in names)
