"""A plan of stages in, a trained student out.

Everything about the loop itself (optimizer, schedule, devices, checkpoints, resuming) is transformers' ``Trainer``.
What is added is a loss that looks at a teacher, batches whose order survives an interruption, and a history that says
what every point of a curve cost.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalPrediction
from transformers.utils import logging as transformers_logging

from xtcq.distillation import DistillationLoss, LayerMap, Stage
from xtcq.files import write_atomically
from xtcq.tasks import Task, compute_metrics, encode

logger = logging.getLogger(__name__)

# XTC's public training script (DeepSpeedExamples, compression/bert/run_glue_no_trainer.py L440-465 and its configs):
# AdamW with transformers' former epsilon, decoupled decay of everything but biases and LayerNorm, global clipping.
WEIGHT_DECAY, ADAM_EPSILON, MAX_GRAD_NORM = 0.01, 1e-6, 1.0
# XTC, Appendix B.1: linear decay after a warm-up of 10% of the training time.
WARMUP = 0.1


@dataclass(frozen=True)
class TrainingResult:
    """What a plan produced.

    Attributes:
        history: one dict a logged point: ``stage`` (index), ``stage_name``, ``step`` (over the whole plan), ``epoch``,
            ``train_seconds`` (training alone, without evaluation and saving), and either ``loss``, its parts and
            ``learning_rate``, or ``metrics`` (per cent).
        best: metrics of the last stage's evaluation with the highest primary metric, whose weights the student keeps.
            Chosen on the development set, as XTC reports it (Appendix B.2), hence optimistic.
        last: metrics of the last evaluation.
        train_seconds: seconds spent in training steps.
    """

    history: list[dict[str, Any]]
    best: dict[str, float]
    last: dict[str, float]
    train_seconds: float


def train(
    student: PreTrainedModel,
    stages: list[Stage],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    evaluations: int = 10,
    teacher: PreTrainedModel | None = None,
    layer_map: LayerMap | None = None,
) -> TrainingResult:
    """Run the stages one after another, going on from ``folder`` if an earlier call was interrupted.

    Args:
        student: the model to train, changed in place; ends with the weights of its best evaluation in the last stage.
        stages: the plan.
        task: training and evaluation frames.
        tokenizer: the student's.
        folder: where checkpoints and finished stages lie; may be deleted once the result is stored.
        learning_rate: peak rate of a stage whose factor is 1.
        batch_size: examples per step and device.
        seed: of dropout and of the batches; stage ``i`` uses ``seed + i``.
        evaluations: evenly spaced evaluations over the whole plan; every stage also ends with one.
        teacher: needed by distillation stages; put into evaluation mode and never changed.
        layer_map: the pairs of layers; the uniform map if left out.

    Returns:
        The result.

    Raises:
        ValueError: if a stage distils and there is no teacher, or the teacher does not fit the student.
        FloatingPointError: if the loss is no longer finite.
    """
    data = {
        "train": encode(task.train, task.spec, tokenizer),
        "evaluation": {split: encode(frame, task.spec, tokenizer) for split, frame in task.evaluation.items()},
    }
    total_epochs = sum(stage.epochs for stage in stages)
    history: list[dict[str, Any]] = []
    for index, stage in enumerate(stages):
        loss = _distillation_loss(stage, student, teacher, layer_map) if stage.distils else None
        stage_folder = folder / f"stage-{index}"
        if not (stage_folder / "history.json").exists():
            count = max(1, round(evaluations * stage.epochs / total_epochs))
            trainer = _trainer(
                student, stage, task, tokenizer, data, stage_folder, loss, teacher, count,
                learning_rate=learning_rate, batch_size=batch_size, seed=seed + index,
            )  # fmt: skip
            trainer.train(resume_from_checkpoint=_newest_intact_checkpoint(stage_folder))
            _finish_stage(trainer, student, stage_folder)
        load_model(student, stage_folder / "last.safetensors")
        history += _place(json.loads((stage_folder / "history.json").read_text()), index, stage, history)
    load_model(student, stage_folder / "best.safetensors")

    evaluated = [entry for entry in history if "metrics" in entry and entry["stage"] == len(stages) - 1]
    primary = task.spec.primary_metric
    best = max(evaluated, key=lambda entry: entry["metrics"][primary])
    return TrainingResult(history, best["metrics"], evaluated[-1]["metrics"], history[-1]["train_seconds"])


class DistillationTrainer(Trainer):
    """A Trainer whose training loss compares the student with a teacher.

    Args:
        distillation: the loss; None trains on the labels.
        teacher: the model to imitate; moved to the student's device and set to evaluation mode.
        **kwargs: the Trainer's own.
    """

    def __init__(self, *, distillation: DistillationLoss | None, teacher: PreTrainedModel | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.distillation = distillation
        self.teacher = teacher.eval().to(self.args.device) if distillation else None
        self._parts: dict[str, Tensor] = {}
        self._started = self._earlier_seconds = self._paused = 0.0
        self._stopped_at: float | None = None

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Distillation loss of a training batch; the label loss in evaluation and without a teacher."""
        if self.distillation is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        wanted = {
            "output_hidden_states": self.distillation.needs_hidden_states,
            "output_attentions": self.distillation.needs_attentions,
        }
        with torch.no_grad():
            target = self.teacher(**inputs, **wanted)
        output = model(**inputs, **wanted)
        loss, parts = self.distillation(output, target, inputs["attention_mask"])
        # Sums stay on the device: reading them at every step would wait for it.
        self._parts = {name: self._parts.get(name, 0) + value for name, value in parts.items()}
        return (loss, output) if return_outputs else loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, keeping the time of training steps apart from evaluation and saving."""
        self._started = time.perf_counter()
        return super().train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate outside the training clock."""
        with self._clock_stopped():
            return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss and the training time; refuse to go on from a loss that is not finite.

        Raises:
            FloatingPointError: naming step and learning rate.
        """
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(
                    f"the training loss is {logs['loss']} at step {self.state.global_step} of {self.state.max_steps} "
                    f"(learning rate {logs.get('learning_rate')}). Lower the learning rate; the last checkpoint before "
                    f"it is under {self.args.output_dir}."
                )
            steps = self.state.global_step - self._parts_since
            logs |= {f"loss_{name}": float(value) / steps for name, value in self._parts.items()}
            self._parts, self._parts_since = {}, self.state.global_step
        logs["train_seconds"] = self._train_seconds()
        super().log(logs, *args, **kwargs)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Leave learned step sizes out of weight decay: they are scales, not weights."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(".step")]

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._init_training_state(*args, **kwargs)
        self._parts_since = self.state.global_step
        self._earlier_seconds = max((entry.get("train_seconds", 0.0) for entry in self.state.log_history), default=0.0)
        return result

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        return _EpochSampler(self.args.train_batch_size, self.train_dataset.lengths, self.args.seed)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        # Saving a model of one file draws a bar of one step.
        transformers_logging.disable_progress_bar()
        with self._clock_stopped():
            super()._save_checkpoint(*args, **kwargs)

    def _train_seconds(self) -> float:
        now = time.perf_counter() if self._stopped_at is None else self._stopped_at
        return self._earlier_seconds + now - self._started - self._paused

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        if self.args.device.type == "cuda":
            torch.cuda.synchronize()  # what is still in flight is training
        if self._stopped_at is not None:  # an evaluation of several splits calls itself for each
            yield
            return
        self._stopped_at = time.perf_counter()
        yield
        self._paused += time.perf_counter() - self._stopped_at
        self._stopped_at = None


class _EpochSampler(LengthGroupedSampler):
    """Batches of like length whose order depends on seed and epoch alone, so that a resumed run sees the same ones."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(1_000_003 * self.seed + epoch)


class _EvenEvaluations(TrainerCallback):
    """Evaluate and save a given number of times, evenly spaced, and always at the end."""

    def __init__(self, count: int) -> None:
        self.count = count

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % math.ceil(state.max_steps / self.count) == 0 or state.global_step == state.max_steps:
            control.should_log = control.should_evaluate = control.should_save = True


class _ProgressLine(TrainerCallback):
    """One plain line an evaluation: readable in a terminal, a log file and an executed notebook."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        values = {k: v for k, v in metrics.items() if not k.endswith(("runtime", "per_second", "epoch", "loss"))}
        shown = " ".join(f"{name.split('_', 2)[-1]}={value:.1f}" for name, value in values.items())
        logger.info("%s step %d/%d %s", self.stage.name, state.global_step, state.max_steps, shown)


def _distillation_loss(stage, student, teacher, layer_map) -> DistillationLoss:
    if teacher is None:
        raise ValueError(f"stage {stage.name!r} distils, and no teacher was given. Pass teacher=..., or plan finetune().")
    layer_map = layer_map or LayerMap.uniform(student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    loss = DistillationLoss(stage.terms, layer_map)
    loss.check(student.config, teacher.config)
    return loss


def _trainer(
    student, stage, task, tokenizer, data, folder, loss, teacher, count, *, learning_rate, batch_size, seed
) -> DistillationTrainer:
    spec = task.spec
    primary_split = next(iter(data["evaluation"]))
    on_cpu = not torch.cuda.is_available()

    def metrics(prediction: EvalPrediction) -> dict[str, float]:
        return compute_metrics(spec, prediction.predictions, prediction.label_ids)

    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=learning_rate * stage.lr_factor,
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=64,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        adam_epsilon=ADAM_EPSILON,
        max_grad_norm=MAX_GRAD_NORM,
        seed=seed,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        # Evaluations and checkpoints are asked for by _EvenEvaluations; the strategy only says what a best one is.
        save_strategy="steps",
        save_steps=10**9,
        save_total_limit=1,
        metric_for_best_model=f"{primary_split}_{spec.primary_metric}",
        greater_is_better=True,
        # A ratio: fifty points a stage, however long it is.
        logging_steps=0.02,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = DistillationTrainer(
        distillation=loss,
        teacher=teacher,
        model=student,
        args=arguments,
        train_dataset=data["train"],
        eval_dataset=data["evaluation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=metrics,
        callbacks=[_EvenEvaluations(count), _ProgressLine(stage)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _finish_stage(trainer: DistillationTrainer, student: PreTrainedModel, folder: Path) -> None:
    """Keep the last and the best weights, and the history as the sign that the stage is complete; drop the rest."""
    student.to("cpu")
    save_model(student, folder / "last.safetensors")
    best = Path(trainer.state.best_model_checkpoint) / "model.safetensors"
    shutil.copyfile(best, folder / "best.safetensors")
    write_atomically(folder / "history.json", json.dumps(trainer.state.log_history))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _place(log: list[dict[str, Any]], index: int, stage: Stage, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn one stage's log into entries of the whole plan's history."""
    offset = {name: before[-1][name] if before else 0 for name in ("step", "epoch", "train_seconds")}
    entries: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in log:
        evaluated = any(name.startswith("eval_") for name in line)
        if not evaluated and "loss" not in line:
            continue  # the Trainer's closing summary
        key = (line["step"], evaluated)
        entry = entries.setdefault(
            key, {"stage": index, "stage_name": stage.name} | {name: line[name] + offset[name] for name in offset}
        )
        if evaluated:
            entry.setdefault("metrics", {}).update(_metrics(line))
        else:
            entry |= {k: v for k, v in line.items() if k.startswith("loss") or k == "learning_rate"}
    return list(entries.values())


def _metrics(line: dict[str, Any]) -> dict[str, float]:
    """Metrics of one evaluation line; a second split's are told apart by its suffix, as in ``accuracy_mm``."""
    result = {}
    for name, value in line.items():
        if name.startswith("eval_validation"):
            split, _, metric = name.removeprefix("eval_").rpartition("_")
            if metric not in ("loss", "runtime", "second"):
                result[metric + ("_mm" if split.endswith("mismatched") else "")] = value
    return result


def _newest_intact_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose files are whole; a run that was killed while saving leaves one that is not."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in checkpoints:
        damage = _damage(checkpoint)
        if damage is None:
            return str(checkpoint)
        logger.warning("checkpoint %s is incomplete (%s): going on from the one before it", checkpoint, damage)
    return None


def _damage(checkpoint: Path) -> str | None:
    try:
        with safe_open(checkpoint / "model.safetensors", "pt"):
            pass
        for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt"):
            if not zipfile.is_zipfile(checkpoint / name):
                return f"{name} is cut off or missing"
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, SafetensorError, ValueError) as error:
        return str(error)
    return None
