"""What surrounds the steps of a stage: when it is evaluated, saved and paused, its clock, and its log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from xtcq.training.stage_folder import seal

if TYPE_CHECKING:
    from xtcq.training.trainer import DistillationTrainer

logger = logging.getLogger(__name__)

# Where a checkpoint keeps the state of the bit-widths.
SEARCH = "search"


class StageCallback(TrainerCallback):
    """Evaluate and save after given steps of a stage, stop once somebody asks for it, and log a line an evaluation.

    Its last step is logged too, since the next stage counts on from there. It stops with a checkpoint, at a step that
    is logged, so that no mean is cut in two; and once all widths are frozen, where bit-widths are learned.
    """

    def __init__(
        self, trainer: DistillationTrainer, name: str, steps: Collection[int], pause: Callable[[], bool]
    ) -> None:
        self.trainer, self.name, self.steps, self.pause = trainer, name, frozenset(steps), pause

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on with what a checkpoint knows."""
        self.trainer.begin()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count training time."""
        self.trainer.start_clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due."""
        controller = self.trainer.controller
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True
        elif state.global_step == state.max_steps:
            control.should_log = True
        if control.should_log and state.global_step < state.max_steps and self.pause():
            control.should_save = control.should_training_stop = True
        if controller is not None and controller.finished:
            control.should_training_stop = control.should_log = control.should_evaluate = True
            control.should_save = False  # the stage ends here; from a checkpoint of now, it would go on by one step
        elif controller is not None and control.should_save:
            state.stateful_callbacks[SEARCH] = controller.state()  # type: ignore[index,call-overload]  # a dict
        if control.should_evaluate or control.should_save:
            self.trainer.stop_clock()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Say that a checkpoint is complete."""
        checkpoint = Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        seal(checkpoint, [path for path in checkpoint.rglob("*") if path.is_file()])

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the metrics: readable in a terminal, a log file and an executed notebook."""
        plain = ("runtime", "per_second", "epoch", "loss", "seconds")
        values = {k: v for k, v in kwargs["metrics"].items() if not k.endswith(plain)}
        shown = " ".join(f"{name.split('_', 2)[-1]}={value:.1f}" for name, value in values.items())
        logger.info("%s step %d/%d %s", self.name, state.global_step, state.max_steps, shown)
