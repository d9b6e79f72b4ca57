"""When a stage is evaluated, when it pauses, and what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from xtcq.distillation import Stage

logger = logging.getLogger(__name__)


class PlannedEvaluations(TrainerCallback):
    """Evaluate and save after given steps of a stage, and log its last one: the next stage counts on from there."""

    def __init__(self, steps: Collection[int]) -> None:
        self.steps = frozenset(steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for an evaluation and a checkpoint where one is due."""
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        elif state.global_step == state.max_steps:
            control.should_log = True


class PauseWhen(TrainerCallback):
    """Save a checkpoint and stop once somebody asks for it, at a step that is logged: no mean is cut in two."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop, unless the stage is over anyway."""
        if control.should_log and state.global_step < state.max_steps and self.asked():
            control.should_save = control.should_training_stop = True


class ProgressLine(TrainerCallback):
    """One plain line an evaluation: readable in a terminal, a log file and an executed notebook."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the metrics of the evaluation."""
        plain = ("runtime", "per_second", "epoch", "loss", "seconds")
        values = {k: v for k, v in kwargs["metrics"].items() if not k.endswith(plain)}
        shown = " ".join(f"{name.split('_', 2)[-1]}={value:.1f}" for name, value in values.items())
        logger.info("%s step %d/%d %s", self.stage.name, state.global_step, state.max_steps, shown)
