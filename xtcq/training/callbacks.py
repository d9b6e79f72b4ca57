"""When a stage is evaluated, when it pauses, and what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class StageCallback(TrainerCallback):
    """Evaluate and save after given steps of a stage, stop once somebody asks for it, and log a line an evaluation.

    Its last step is logged too, since the next stage counts on from there. It stops with a checkpoint, at a step that
    is logged, so that no mean is cut in two.
    """

    def __init__(self, name: str, steps: Collection[int], pause: Callable[[], bool]) -> None:
        self.name, self.steps, self.pause = name, frozenset(steps), pause

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due."""
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        elif state.global_step == state.max_steps:
            control.should_log = True
        if control.should_log and state.global_step < state.max_steps and self.pause():
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the metrics: readable in a terminal, a log file and an executed notebook."""
        plain = ("runtime", "per_second", "epoch", "loss", "seconds")
        values = {k: v for k, v in kwargs["metrics"].items() if not k.endswith(plain)}
        shown = " ".join(f"{name.split('_', 2)[-1]}={value:.1f}" for name, value in values.items())
        logger.info("%s step %d/%d %s", self.name, state.global_step, state.max_steps, shown)
