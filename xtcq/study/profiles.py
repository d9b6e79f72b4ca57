"""A profile: the experiments of the same notebooks at one scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xtcq.adaqat import AdaQATSettings
from xtcq.distillation import select_layers
from xtcq.pretrained import PUBLISHED
from xtcq.study import budgets, regime
from xtcq.study.experiment import Experiment
from xtcq.tasks import task_spec


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a notebook runs at one scale.

    Attributes:
        name: ``"demo"``, ``"mini"`` or ``"paper"``.
        model: pre-trained encoder.
        tasks: tasks in the order of their value to the reader.
        grid_tasks: those of them on which the large grids of students run.
        question_tasks: tasks of question answering, which are no part of `tasks`: AdaQAT-BERT's Table 1.
        budgets: length of a whole plan by budget: passes over the training set, or optimizer steps where it is an
            ``int``. None stands for XTC's own, task by task: see ``xtcq.study.budgets``.
        budget: the budget that a notebook uses unless it compares budgets.
        learning_rate: the rate that a notebook uses unless it sweeps.
        depths: layers of the small students, largest first.
        small_learning_rates: rates of a sweep over small students.
        reduced_learning_rate: rate of the full-precision small students that quantized ones begin with.
        small_encoders: encoders of a smaller depth that were pre-trained as such, which small students stand beside.
        teacher_epochs: length of the teacher's fine-tuning, unless that is more than ``teacher_steps``.
        teacher_steps: most optimizer steps that a teacher is worth at this scale.
        teacher_learning_rate: its peak rate where no sweep was run.
        teacher_sweep_rates: rates of the sweep that a task's teacher is chosen from.
        teacher_rates: the best of them, by task, as the Records of the sweep say.
        width_tasks: tasks on which bit-widths are learned.
        width_budget: the budget that those runs and what stands beside them have.
        width_long_budget: the budget in which widths by kind of matrix, or by matrix, come to rest too.
        width_granularity: which layers share learned widths; empty for the finest that the budget allows.
        width_learning_rate: peak rate of those runs.
        width_share: share of the training that exploring bit-widths may take. AdaQAT-BERT does not say.
        width_short: search with too few steps, and mark the result; otherwise such a search is refused.
        evaluations: evaluations over a plan.
        scale: one line that stands beside every result.
    """

    name: str
    model: str
    tasks: tuple[str, ...]
    grid_tasks: tuple[str, ...]
    question_tasks: tuple[str, ...]
    budgets: Mapping[str, float | int | None]
    budget: str
    learning_rate: float
    depths: tuple[int, ...]
    small_learning_rates: tuple[float, ...]
    reduced_learning_rate: float
    teacher_epochs: float
    teacher_steps: int
    teacher_learning_rate: float
    width_tasks: tuple[str, ...]
    width_budget: str
    width_long_budget: str
    width_granularity: str
    width_learning_rate: float
    evaluations: int
    scale: str
    small_encoders: tuple[str, ...] = ()
    teacher_sweep_rates: tuple[float, ...] = ()
    teacher_rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    width_share: float = 0.5
    width_short: bool = False

    def teacher(self, task: str, seed: int = 42, **fields: Any) -> Experiment:
        """The experiment that fine-tunes the full-precision teacher of a task, at the rate that its sweep found best.

        ``fields`` are those of ``Experiment`` that shall differ.
        """
        fixed: dict[str, Any] = {
            "task": task,
            "model": self.model,
            "seed": seed,
            "epochs": min(self.teacher_epochs, epochs_of(task, self.teacher_steps)),
            "learning_rate": self.teacher_rates.get(task, self.teacher_learning_rate),
            "evaluations": self.evaluations,
        }
        return Experiment(**fixed | fields)

    def teacher_sweep(self, task: str, seed: int = 42) -> list[Experiment]:
        """What a teacher is chosen from, by its best score on the development set: one run for each rate."""
        rates = self.teacher_sweep_rates or (self.teacher(task).learning_rate,)
        return [self.teacher(task, seed, learning_rate=rate) for rate in rates]

    def epochs(self, task: str, budget: str) -> float:
        """Length of a plan in passes over the training set, by a key of ``budgets``.

        Raises:
            ValueError: for an unknown budget.
        """
        if budget not in self.budgets:
            raise ValueError(
                f"budget {budget!r} is unknown at the {self.name} profile: use one of {list(self.budgets)}."
            )
        length = self.budgets[budget]
        if length is None:
            return budgets.paper_passes(task, budget)
        return epochs_of(task, length) if isinstance(length, int) else length

    def budget_name(self, experiment: Experiment) -> str:
        """The budget that an experiment's length is, or the length itself."""
        for name in self.budgets:
            if experiment.epochs == self.epochs(experiment.task, name):
                return name
        return experiment.budget or f"{experiment.epochs:g} epochs"

    def student(self, task: str, **fields: Any) -> Experiment:
        """A student of that teacher.

        Args:
            task: name of the task.
            **fields: fields of ``Experiment``; those left out take the profile's values. ``budget`` names the epochs.

        Raises:
            ValueError: for an unknown budget, besides what ``Experiment`` raises.
        """
        fixed: dict[str, Any] = {
            "task": task,
            "model": self.model,
            "teacher": self.teacher(task),
            "epochs": self.epochs(task, fields.pop("budget", self.budget)),
            "learning_rate": self.learning_rate,
            "evaluations": self.evaluations,
        }
        return Experiment(**fixed | fields)

    def reduced(self, task: str, depth: int, selection: str = "skip", **fields: Any) -> Experiment:
        """A full-precision student with some of its teacher's layers; one stage of distillation unless said otherwise.

        Args:
            task: name of the task.
            depth: number of layers.
            selection: see ``xtcq.distillation.select_layers``, whose errors this one's are too.
            **fields: as for `student`.
        """
        layers = select_layers(selection, PUBLISHED[self.model].layers, depth)
        fixed: dict[str, Any] = {"layers": layers, "stages": "one-stage", "learning_rate": self.reduced_learning_rate}
        return self.student(task, **fixed | fields)

    def small(self, task: str, depth: int, precision: str, **fields: Any) -> Experiment:
        """A quantized student with some of its teacher's layers, which begins where `reduced` ended.

        XTC quantizes the fine-tuned reduced student, with the full teacher still teaching (Figure 5, Table C.15). One
        with all of the layers has nothing to make up for, and begins as its teacher.
        """
        fixed: dict[str, Any] = {"precision": precision, "stages": "one-stage", "learning_rate": self.learning_rate}
        begins = self.cut(task, depth)
        return self.reduced(task, depth, **begins | fixed | fields) if begins else self.student(task, **fixed | fields)

    def cut(self, task: str, depth: int | None) -> dict[str, Any]:
        """Fields of a student that keeps so many layers of its teacher and begins where `reduced` ended.

        None for a student of all layers, whose depth may be None.
        """
        if depth in (None, PUBLISHED[self.model].layers):
            return {}
        start = self.reduced(task, depth)
        return {"layers": start.layers, "start": start}

    def learned(self, task: str, factor: float = 1.0, **fields: Any) -> Experiment:
        """A student whose bit-widths are learned, from 4 bits for weights, tokens and activations downwards.

        The budget is the length of exploration and refinement together. Its steps decide which layers share widths,
        unless the profile or ``granularity`` say that: see ``xtcq.study.regime.finest``. An experiment whose search
        cannot come to rest in its steps is made, and refused when it is run.

        Args:
            task: name of the task.
            factor: multiplies both of the paper's lambdas.
            **fields: as for `student`, and those of ``AdaQATSettings``.
        """
        known = {field.name for field in dataclasses.fields(AdaQATSettings)}
        paper = AdaQATSettings()
        settings: dict[str, Any] = {
            "lambda_weights": factor * paper.lambda_weights,
            "lambda_activations": factor * paper.lambda_activations,
            "share": self.width_share,
            "short": self.width_short,
            "granularity": self.width_granularity or paper.granularity,
        } | {name: fields[name] for name in fields.keys() & known}
        fixed: dict[str, Any] = {
            "recipe": "adaqat",
            "precision": "4-4-4",
            "stages": "one-stage",
            "budget": self.width_budget,
            "adaqat": AdaQATSettings(**settings),
        }
        made = self.student(task, **fixed | {name: fields[name] for name in fields.keys() - known})
        return made if self.width_granularity or "granularity" in fields else regime.finest(made)


def epochs_of(task: str, steps: int) -> float:
    """Epochs that take a number of optimizer steps, with as few decimals as give exactly that number."""
    per_epoch = task_spec(task).epoch_steps
    rounded = (math.floor(steps / per_epoch * scale) / scale for scale in (10**n for n in range(3, 9)))
    return next(epochs for epochs in rounded if round(epochs * per_epoch) == steps)
