"""The Trainer of one stage: a loss that looks at a teacher, and what surrounds it."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, EvalPrediction
from transformers.utils import SAFE_WEIGHTS_NAME

from xtcq.adaqat import AdaQAT, AdaQATSettings
from xtcq.distillation import DistillationLoss
from xtcq.files import saving, write_atomically
from xtcq.quantization import LEARNED_SCALES
from xtcq.quiet import without_bars
from xtcq.tasks.dataset import EncodedDataset
from xtcq.training.graphs import StepGraphs, uses_graphs
from xtcq.training.stage_folder import CLOCKS, metrics_of, predictions_path, seal

logger = logging.getLogger(__name__)

# Short trainings save twice a second, and the Trainer warns that it then goes by the checkpoints' numbers.
logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime" not in record.getMessage())

# Where a checkpoint keeps the state of the bit-widths.
SEARCH = "search"


class DistillationTrainer(Trainer):
    """A Trainer whose training loss compares the student with a teacher.

    Args:
        distillation: the loss; None trains on the labels, and asks no teacher.
        teacher: the model to imitate; moved to the student's device and set to evaluation mode.
        adaqat: learn bit-widths as well, in every step until the search is over, which ends the training. The
            controller is the attribute ``controller`` once training has begun; its state is part of every checkpoint.
        due: steps after which the student is evaluated and a checkpoint is saved.
        pause: asked at every step that is logged; once it says yes, training stops with a checkpoint.
        **kwargs: the Trainer's own. Its ``processing_class`` is a tokenizer, which pads the batches; its datasets are
            ``xtcq.tasks.EncodedDataset``: each scores its own predictions.
    """

    # A Trainer may lack these, and take data of any kind.
    model: PreTrainedModel
    train_dataset: EncodedDataset

    def __init__(
        self,
        *,
        distillation: DistillationLoss | None,
        teacher: PreTrainedModel | None,
        adaqat: AdaQATSettings | None = None,
        due: Collection[int] = (),
        pause: Callable[[], bool] = lambda: False,
        **kwargs: Any,
    ) -> None:
        if distillation is not None and teacher is None:
            raise ValueError(
                "a loss of distillation compares the student with a teacher, and teacher is None: pass the model to "
                "imitate, or distillation=None to train on the labels"
            )
        super().__init__(compute_metrics=self._score, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(_StageCallback(self, due, pause))
        # Every loss here is a mean over its batch: the Trainer takes those of models with extra arguments for sums.
        self.model_accepts_loss_kwargs = False
        self.adaqat = adaqat
        self.controller: AdaQAT | None = None
        self.distillation = distillation
        self.teacher: Callable[..., Any] | None = None
        if distillation is not None and teacher is not None:
            self.teacher = teacher.eval().to(self.args.device)
        self._parts: dict[str, Tensor] = {}
        self._graphs: StepGraphs | None = None
        self._started = self._paused = 0.0
        self._earlier = dict.fromkeys(CLOCKS, 0.0)
        self._stopped_at: float | None = None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Distillation loss of a training batch; the label loss in evaluation and without a teacher."""
        if self.distillation is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        assert self.teacher is not None  # until its stage is finished
        inputs = {name: value for name, value in inputs.items() if name not in self.label_names}
        wanted = {
            "output_hidden_states": "hidden" in self.distillation.terms,
            "output_attentions": "attention" in self.distillation.terms,
        }
        with torch.no_grad():
            target = self.teacher(**inputs, **wanted)
        output = model(**inputs, **wanted)
        loss, parts = self.distillation(output, target, inputs["attention_mask"])
        # Sums stay on the device: reading them at every step would wait for it.
        self._parts = {name: self._parts.get(name, 0) + value for name, value in parts.items()}
        return (loss, output) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward pass, followed by a step of the bit-widths where they are learned."""
        if self.adaqat is None and uses_graphs(self.args):
            model.train()
            return self._replayed(model, self._prepare_inputs(inputs))
        if self.controller is None:
            return super().training_step(model, inputs, num_items_in_batch)
        inputs = self._prepare_inputs(inputs)
        with self.controller.observe():
            loss = super().training_step(model, inputs, num_items_in_batch)

        def again() -> Tensor:
            with self.compute_loss_context_manager():
                return self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)

        self.controller.step(loss, again)
        return loss

    def _replayed(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Forward and backward pass by CUDA graphs."""
        if self._graphs is None:

            def step(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
                sums, self._parts = self._parts, {}
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, inputs)
                self.accelerator.backward(loss)
                parts, self._parts = self._parts, sums
                return parts | {"": loss.detach()}

            self._graphs = StepGraphs(step, model.parameters())
        results = self._graphs(inputs)
        for name, value in results.items():
            if name:
                self._parts[name] = self._parts.get(name, 0) + value
        return results[""]

    def get_train_dataloader(self) -> DataLoader:
        """Batches of like length in a repeatable order, the same whether one goes through whole or in parts."""
        size = self.args.train_batch_size
        whole = size * self.args.gradient_accumulation_steps
        sampler = _EpochSampler(whole, self.train_dataset.lengths, self.args.seed)
        pinned = self.args.dataloader_pin_memory
        return self.accelerator.prepare(
            DataLoader(self.train_dataset, size, sampler=sampler, collate_fn=self.data_collator, pin_memory=pinned)
        )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, keeping the time of training steps apart from evaluation and saving."""
        self._started = time.perf_counter()
        # Saving a model of one file draws a bar of one step.
        with without_bars(), saving(f"the checkpoints in {self.args.output_dir} are kept"):
            return super().train(*args, **kwargs)

    def go_on(self, checkpoint: str | None) -> None:
        """Train, from a checkpoint if there is one; one of the last step is only loaded, and ends the training.

        The Trainer would train for one step more than it was asked for.
        """
        state = checkpoint and TrainerState.load_from_json(f"{checkpoint}/{TRAINER_STATE_NAME}")
        if not state or state.global_step < self.args.max_steps:
            self.train(resume_from_checkpoint=checkpoint)
            return
        load_model(self.model, f"{checkpoint}/{SAFE_WEIGHTS_NAME}")
        self.state = state
        self.begin()

    def begin(self) -> None:
        """Go on with what the state knows: bit-widths, and the time that came before."""
        if self.adaqat is not None:
            # A dict, though transformers annotates the list that it was made of.
            saved = self.state.stateful_callbacks.get(SEARCH)  # type: ignore[union-attr]
            self.controller = AdaQAT(self.model, self.adaqat, steps=self.state.max_steps, state=saved)
        self._parts_since = self.state.global_step
        for clock in CLOCKS:
            self._earlier[clock] = max((entry.get(clock, 0.0) for entry in self.state.log_history), default=0.0)

    @property
    def paused(self) -> bool:
        """Whether training stopped before its last step, and not because a search was over."""
        over = self.controller is not None and self.controller.finished
        return self.state.global_step < self.args.max_steps and not over

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Remember whose predictions are made, and keep them: a file a step and split, see `predictions_path`."""
        assert isinstance(dataloader.dataset, EncodedDataset)
        self._evaluated = dataloader.dataset
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        folder = predictions_path(Path(str(self.args.output_dir)), self.state.global_step)
        split = kwargs["metric_key_prefix"].removeprefix("eval_")
        write_atomically(folder / f"{split}.json", json.dumps(self._predicted))
        return output

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        metrics, self._predicted = self._evaluated.evaluate(prediction.predictions, prediction.label_ids)
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss and the times; a loss that is not finite is a FloatingPointError."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(
                    f"the training loss is {logs['loss']} at step {self.state.global_step} of {self.state.max_steps} "
                    f"(learning rate {logs.get('learning_rate')}). Lower the learning rate; the last checkpoint before "
                    f"it is under {self.args.output_dir}."
                )
            steps = (self.state.global_step - self._parts_since) * self.args.gradient_accumulation_steps
            logs |= {f"loss_{name}": float(value) / steps for name, value in self._parts.items()}
            self._parts, self._parts_since = {}, self.state.global_step
        logs |= self._clocks()
        super().log(logs, *args, **kwargs)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Leave learned step sizes and clipping bounds out of weight decay: they are scales, not weights."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(LEARNED_SCALES)]

    def _clocks(self) -> dict[str, float]:
        now = time.perf_counter()
        trained = (now if self._stopped_at is None else self._stopped_at) - self._started - self._paused
        since = dict(zip(CLOCKS, (trained, now - self._started), strict=True))
        return {clock: self._earlier[clock] + seconds for clock, seconds in since.items()}

    def stop_clock(self) -> None:
        """Count no training time from here until `start_clock`: what comes is an evaluation or a checkpoint."""
        if self.args.device.type == "cuda":
            torch.cuda.synchronize()  # what is still in flight is training
        self._stopped_at = time.perf_counter()

    def start_clock(self) -> None:
        """Count training time again, if it was not."""
        if self._stopped_at is not None:
            self._paused += time.perf_counter() - self._stopped_at
            self._stopped_at = None


class _StageCallback(TrainerCallback):
    """Evaluate and save after given steps of a stage, stop once somebody asks for it, and log a line an evaluation.

    Its last step is logged too, since the next stage counts on from there. It stops with a checkpoint, at a step that
    is logged, so that no mean is cut in two; and once all widths are frozen, where bit-widths are learned.
    """

    def __init__(self, trainer: DistillationTrainer, steps: Collection[int], pause: Callable[[], bool]) -> None:
        self.trainer, self.steps, self.pause = trainer, frozenset(steps), pause

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.begin()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.start_clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
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

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        checkpoint = Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        seal(checkpoint, [path for path in checkpoint.rglob("*") if path.is_file()])

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        shown = " ".join(f"{name}={value:.1f}" for name, value in metrics_of(kwargs["metrics"]).items())
        logger.info("%s step %d/%d %s", args.run_name, state.global_step, state.max_steps, shown)


class _EpochSampler(LengthGroupedSampler):
    """Batches of like length whose order depends on seed and epoch alone, so that a resumed run sees the same ones."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(1_000_003 * self.seed + epoch)
