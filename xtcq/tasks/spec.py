"""What a task is: its columns, sizes, metrics and the data frames that carry it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class TaskSpec:
    """The fixed facts of one task.

    Attributes:
        name: Identifier used in experiments and on the command line, for example `"mrpc"`.
        title: Name as the papers print it.
        columns: The text columns, one for a single sentence and two for a pair, in the order they are encoded.
        num_labels: Number of classes; 1 means regression.
        max_length: Word pieces kept per example, special tokens included.
        batch_size: Training batch size, in examples.
        metrics: Keys of `compute_metrics`; the first one selects the best checkpoint.
        rows: Number of examples of every split. All splits except `"train"` are evaluation splits.
        synthetic: True for tasks that this project generates itself.
        majority: Examples of the most frequent class in the main evaluation split; None where it is not known or there
            are no classes. Always answering that class gets this many right.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    num_labels: int
    max_length: int
    batch_size: int
    metrics: tuple[str, ...]
    rows: Mapping[str, int] = field(hash=False)
    synthetic: bool = False
    majority: int | None = None

    @property
    def is_regression(self) -> bool:
        """Whether labels are real numbers rather than classes."""
        return self.num_labels == 1

    @property
    def primary_metric(self) -> str:
        """Key of the metric that selects the best checkpoint."""
        return self.metrics[0]

    @property
    def evaluation_splits(self) -> tuple[str, ...]:
        """Names of the splits that are evaluated, the main one first (MNLI has two)."""
        return tuple(split for split in self.rows if split != "train")

    @property
    def label_range(self) -> tuple[float, float]:
        """Smallest and largest valid label; every regression task here uses STS-B's scale of 0 to 5."""
        return (0.0, 5.0) if self.is_regression else (0.0, float(self.num_labels - 1))


@dataclass(frozen=True)
class Task:
    """A task with its data.

    Attributes:
        spec: The fixed facts of the task.
        train: Training examples: the columns `spec.columns` and `label`.
        evaluation: One frame of the same columns per evaluation split.
    """

    spec: TaskSpec
    train: pd.DataFrame
    evaluation: dict[str, pd.DataFrame]
