"""What a task is: its columns, sizes, metrics and the data frames that carry it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd


@dataclass(frozen=True)
class TaskSpec:
    """The fixed facts of one task.

    Attributes:
        name: identifier used in experiments and on the command line, for example ``"mrpc"``.
        title: name as the papers print it.
        columns: the text columns, one for a single sentence and two for a pair, in the order they are encoded.
        num_labels: number of classes; 1 means regression.
        max_length: word pieces kept per example, special tokens included.
        batch_size: training batch size, in examples.
        metrics: names of the scores, for classes and numbers keys of ``compute_metrics``; the first one selects the
            best checkpoint.
        rows: number of examples of every split. All splits except ``"train"`` are evaluation splits.
        synthetic: true for tasks that this project generates itself.
        head: what stands on the encoder, see ``xtcq.encoder.load_encoder``.
        majority: examples of the most frequent class in the main evaluation split; None where it is not known or there
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
    head: ClassVar[str] = "classifier"

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
    def main_split(self) -> str:
        """Name of the evaluation split that scores are of."""
        return self.evaluation_splits[0]

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of one epoch."""
        return math.ceil(self.rows["train"] / self.batch_size)


@dataclass(frozen=True)
class QuestionSpec(TaskSpec):
    """The fixed facts of a task that asks for a piece of a text: extractive question answering.

    ``columns`` are the question and its context, ``num_labels`` is 2 (start and end of the answer), and ``rows`` counts
    questions.

    Attributes:
        stride: word pieces that two windows over a context that is longer than one sequence have in common.
        unanswerable: whether some questions have no answer, as in SQuAD v2.0.
        release: name of the release that the data are from, a folder of the data and a repository of the hub; empty
            for a synthetic task.
        held_out: a derived task is made of the release's validation split alone, and evaluates on every so manyeth
            article of it; 0 for a task with the release's own splits.
        windows: training sequences with the vocabulary of bert-base-uncased; None where it was not counted.
    """

    stride: int = 128
    unanswerable: bool = False
    release: str = ""
    held_out: int = 0
    windows: int | None = None
    head: ClassVar[str] = "questions"

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of one epoch of windows, or of questions where windows were not counted."""
        return math.ceil((self.windows or self.rows["train"]) / self.batch_size)


@dataclass(frozen=True)
class Task:
    """A task with its data.

    Attributes:
        spec: the fixed facts of the task.
        train: training examples: the columns ``spec.columns`` and ``label``; for a ``QuestionSpec``, ``answers`` in
            place of ``label``, see ``xtcq.tasks.squad.data.checked_questions``.
        evaluation: one frame of the same columns per evaluation split: ``"validation"``, or MNLI's
            ``"validation_matched"`` and ``"validation_mismatched"``.
    """

    spec: TaskSpec
    train: pd.DataFrame
    evaluation: dict[str, pd.DataFrame]
