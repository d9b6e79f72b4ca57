"""The scales: what is run at each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from xtcq.study import budgets
from xtcq.study.experiment import Experiment
from xtcq.study.profiles import Profile

GLUE = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")


class _Demo(Profile):
    """The scale of the demo: a single layer needs as long as its teacher to learn what it then keeps in few bits."""

    def reduced(self, task: str, depth: int, selection: str = "skip", **fields: Any) -> Experiment:
        own = {} if {"precision", "budget"} & set(fields) else {"epochs": self.teacher_epochs}
        return super().reduced(task, depth, selection, **own | fields)


class _Paper(Profile):
    """The scale of the papers, with what differs by task and by kind of run: lengths, rates, sentences, evaluations."""

    def teacher(self, task: str, seed: int = 42, **fields: Any) -> Experiment:
        return _evaluated(super().teacher(task, seed, **fields), budgets.EVALUATION[task], fields)

    def student(self, task: str, **fields: Any) -> Experiment:
        adaqat = fields.get("recipe") == "adaqat"
        small = "layers" in fields or fields.get("model", self.model) != self.model
        own: dict[str, Any] = {"budget": budgets.NAMES[-1] if small else self.budget}
        if adaqat:
            own = {"budget": self.width_budget, "learning_rate": self.width_learning_rate}
        elif task in budgets.AUGMENTED_ROWS:
            own["augmentation"] = "tinybert"
        fields = own | fields
        if small and "precision" not in fields and "epochs" not in fields and fields["budget"] in budgets.NAMES:
            fields["epochs"] = budgets.paper_passes(task, fields["budget"], reduced=True)
        every = budgets.EVALUATION[task] if adaqat else budgets.XTC_EVALUATION
        return _evaluated(super().student(task, **fields), every, fields)


def _evaluated(experiment: Experiment, every: int, fields: Mapping[str, Any]) -> Experiment:
    """The experiment with an evaluation every so many steps, unless its number was asked for."""
    if "evaluations" in fields:
        return experiment
    return dataclasses.replace(experiment, evaluations=max(1, round(experiment.steps / every)))


_SCALES = {
    "demo": _Demo(
        name="demo",
        model="minilm-demo",
        tasks=("demo-acceptability",),
        grid_tasks=("demo-acceptability",),
        question_tasks=("demo-questions",),
        # With two layers a step costs a quarter of what it does with six, and a plan is long enough to learn something.
        budgets={"short": 48},
        budget="short",
        # One rate for all of them: chapters that ask for the same student share it.
        learning_rate=5e-4,
        depths=(1,),
        small_learning_rates=(5e-4,),
        reduced_learning_rate=2e-4,
        teacher_epochs=2.0,
        teacher_steps=150,
        teacher_learning_rate=5e-4,
        width_tasks=("demo-acceptability",),
        width_budget="short",
        width_long_budget="short",
        width_granularity="network",
        width_learning_rate=2e-4,
        width_short=True,
        evaluations=4,
        scale="the first two layers of MiniLM-L6 on synthetic tasks; says nothing about the papers",
    ),
    "mini": Profile(
        name="mini",
        model="minilm-l6",
        tasks=("mrpc", "stsb", "sst2", "cola", "rte"),
        grid_tasks=("mrpc", "sst2"),
        question_tasks=("squad-articles", "squad2-articles"),
        # "short" to "long" are what processor cores can pay for; they are no budgets of the papers.
        budgets={"quarter": 250, "short": 1000, "longer": 2000, "long": 4000, "widths": 7200, **budgets.PASSES},
        budget="short",
        learning_rate=1e-4,
        depths=(3, 2),
        small_learning_rates=(5e-5, 1e-4, 5e-4),
        reduced_learning_rate=5e-4,
        teacher_epochs=5.0,
        teacher_steps=2000,
        teacher_learning_rate=1e-4,
        teacher_sweep_rates=(5e-5, 1e-4, 2e-4),
        teacher_rates={"sst2": 2e-4, "cola": 5e-5, "stsb": 1e-4, "mrpc": 1e-4, "rte": 1e-4},
        width_tasks=("mrpc", "rte", "sst2"),
        width_budget="longer",
        width_long_budget="widths",
        width_granularity="",
        width_learning_rate=1e-4,
        evaluations=6,
        scale="MiniLM-L6 (22.7 M parameters) on real tasks: GLUE, and articles of SQuAD's validation split",
    ),
    "paper": _Paper(
        name="paper",
        model="bert-base-uncased",
        tasks=GLUE,
        grid_tasks=GLUE,
        question_tasks=("squad1", "squad2"),
        budgets=dict.fromkeys(budgets.NAMES) | {"widths": 160_000},
        budget="A",
        learning_rate=1e-4,
        depths=(6, 5, 4),
        small_learning_rates=(5e-5, 1e-4, 5e-4),
        reduced_learning_rate=1e-4,
        small_encoders=("tinybert-l6", "minilm-l6-768"),
        teacher_epochs=3.0,
        # Three epochs of the largest task, MNLI: no limit.
        teacher_steps=40_000,
        teacher_learning_rate=2e-5,
        width_tasks=GLUE,
        # What the 146 widths of BERT-base need at the rate of the published code, and a third of it to refine.
        width_budget="widths",
        width_long_budget="widths",
        width_granularity="layer",
        width_learning_rate=2e-5,
        width_share=0.75,
        evaluations=1,  # for each so many steps, see _Paper
        scale="BERT-base (109 M parameters) on GLUE",
    ),
}


def load_profile(name: str) -> Profile:
    """A profile: ``"demo"``, ``"mini"`` or ``"paper"``.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in _SCALES:
        raise ValueError(f"profile {name!r} is unknown: use one of {', '.join(_SCALES)}.")
    return _SCALES[name]
