"""A plan is trained stage by stage, each one call of the Trainer."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainingArguments,
)

from xtcq.distillation import DistillationLoss, LayerMap, Stage
from xtcq.files import saving, write_atomically
from xtcq.tasks import QuestionSpec, Task, encode
from xtcq.training.checkpoints import newest_intact_checkpoint
from xtcq.training.history import CLOCKS, place_stage
from xtcq.training.memory import keep_freed_memory
from xtcq.training.remembered import RememberedTeacher
from xtcq.training.schedule import evaluation_steps, stage_steps
from xtcq.training.search import SearchSettings
from xtcq.training.settings import ADAM_EPSILON, MAX_GRAD_NORM, WARMUP, WEIGHT_DECAY
from xtcq.training.trainer import (
    DistillationTrainer,
    PauseWhen,
    PlannedEvaluations,
    ProgressLine,
    predictions_path,
)

logger = logging.getLogger(__name__)


class Paused(RuntimeError):
    """A training was asked to stop before its end; it goes on from its checkpoint."""


@dataclass(frozen=True)
class TrainingResult:
    """What a plan produced.

    Attributes:
        history: one dict a logged point: ``stage`` (index), ``stage_name``, ``step`` (over the whole plan), ``epoch``,
            ``train_seconds`` (training alone, without evaluation and saving), ``wall_seconds`` (with both), and either
            ``loss``, its parts and ``learning_rate``, or ``metrics`` (per cent).
        best: metrics of the evaluation with the highest primary metric over all stages of the plan, an exploration of
            bit-widths left out; the first of equals. The student keeps its weights. Chosen on the development set, as
            XTC reports it (Appendix B.2), hence optimistic.
        last: metrics of the last evaluation.
        predictions: at ``"best"`` and ``"last"``, what the student predicted for every evaluation split, see
            ``xtcq.tasks.EncodedDataset.predicted``.
        train_seconds: seconds spent in training steps; of an interrupted run, in those that it kept.
        wall_seconds: the same with evaluations and checkpoints, loading left out.
        exploration: what the stage that learned bit-widths found, see ``xtcq.adaqat.AdaQAT.report`` and
            ``xtcq.allocation.FracBits.report``; None without one.
        micro_batch: examples that went through the models at a time, where memory was too small for a whole batch:
            gradients of its parts were averaged, each with quantization ranges and means over tokens of its own. None
            otherwise.
    """

    history: list[dict[str, Any]]
    best: dict[str, float]
    last: dict[str, float]
    predictions: dict[str, dict[str, Any]]
    train_seconds: float
    wall_seconds: float
    exploration: dict[str, Any] | None = None
    micro_batch: int | None = None


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
    epoch_steps: int | None = None,
    compute: str = "fp32",
    teacher: PreTrainedModel | None = None,
    layer_map: LayerMap | None = None,
    search: SearchSettings | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Run the stages one after another, going on from ``folder`` if an earlier call was interrupted.

    Args:
        student: the model to train, changed in place; ends with the weights of its best evaluation.
        stages: the plan.
        task: training and evaluation frames.
        tokenizer: the student's.
        folder: where checkpoints and finished stages lie; may be deleted once the result is stored.
        learning_rate: peak rate of a stage whose factor is 1.
        batch_size: examples per step and device.
        seed: of dropout and of the batches; stage ``i`` uses ``seed + i``.
        evaluations: evenly spaced evaluations over the whole plan, whatever its stages.
        epoch_steps: optimizer steps of one pass as the plan counts it; those of the training set if left out. A student
            with added sentences is trained as long as one without.
        compute: number format of matrix products, ``"fp32"`` or ``"bf16"`` (autocast; all that is stored stays fp32).
        teacher: needed by distillation stages; put into evaluation mode and never changed.
        layer_map: the pairs of layers; the uniform map if left out.
        search: how the stage that explores learns bit-widths. It may end before its time, once all of them are frozen;
            the stages after it keep their length.
        pause: asked at every step that is logged; once it says yes, a checkpoint is saved and `Paused` raised.

    Returns:
        The result.

    Raises:
        ValueError: if a stage distils and there is no teacher, or the teacher does not fit the student; if a stage
            explores and there are no settings for it or no stage after it; if the student cannot explore; if a stage
            is too short for one step; if there are several devices.
        FloatingPointError: if the loss is no longer finite.
        MemoryError: if not even a single example fits, or a batch of a stage that explores.
        OSError: if there is no space to save; the message says what is kept, and a later call goes on from there.
        Paused: if ``pause`` asked for it.
    """
    _check_exploration(stages, search)
    _check_device()
    keep_freed_memory()
    data = {
        "train": encode(task.train, task.spec, tokenizer),
        "evaluation": {split: encode(frame, task.spec, tokenizer) for split, frame in task.evaluation.items()},
    }
    lengths = stage_steps(stages, epoch_steps or math.ceil(len(data["train"]) / batch_size))
    due = evaluation_steps(sum(lengths), evaluations)
    history: list[dict[str, Any]] = []
    candidates: list[_Evaluation] = []
    exploration = None
    # Kept beside the checkpoints: what goes on from them must cut its batches likewise.
    cut = folder / "parts"
    parts = int(cut.read_text()) if cut.exists() else 1
    for index, (stage, steps) in enumerate(zip(stages, lengths, strict=True)):
        begins = sum(lengths[:index])
        loss = _distillation_loss(stage, student, teacher, layer_map) if stage.distils else None
        stage_folder = folder / f"stage-{index}"
        began = copy.deepcopy(student.state_dict()) if not (stage_folder / "history.json").exists() else None
        while not (stage_folder / "history.json").exists():
            trainer = _trainer(
                student, stage, task, tokenizer, data, stage_folder, loss, teacher, steps,
                {step - begins for step in due if begins < step <= begins + steps},
                learning_rate=learning_rate, batch_size=batch_size, parts=parts, seed=seed + index, compute=compute,
                search=search if stage.explores else None, pause=pause,
            )  # fmt: skip
            try:
                trainer.go_on(newest_intact_checkpoint(stage_folder))
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                parts = _smaller(parts, batch_size, stage, error)
                write_atomically(cut, str(parts))
                del trainer  # and with it what it holds of the device's memory
                student.load_state_dict(began)  # there may be no checkpoint yet to go on from
                continue
            if trainer.paused:
                raise Paused(f"{stage.name}: paused after step {trainer.state.global_step} of {steps}")
            _finish_stage(trainer, student, stage_folder)
        load_model(student, stage_folder / "last.safetensors")
        if stage.explores:
            exploration = json.loads((stage_folder / "exploration.json").read_text())
        offset = history[-1]["step"] if history else 0
        entries = place_stage(json.loads((stage_folder / "history.json").read_text()), index, stage, history)
        history += entries
        if not stage.explores:  # before its widths are fixed a student is another one
            evaluated = [entry for entry in entries if "metrics" in entry]
            candidates += [_Evaluation(e["metrics"], stage_folder, e["step"] - offset) for e in evaluated]

    best = max(candidates, key=lambda candidate: candidate.metrics[task.spec.primary_metric])
    last = candidates[-1]
    load_model(student, best.stage_folder / "best.safetensors")
    times = {clock: history[-1][clock] for clock in CLOCKS}
    predictions = {"best": best.predictions(), "last": last.predictions()}
    micro_batch = None if parts == 1 else batch_size // parts
    return TrainingResult(
        history, best.metrics, last.metrics, predictions, **times, exploration=exploration, micro_batch=micro_batch
    )


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation that may be the best one: its metrics, and where the predictions behind them lie."""

    metrics: dict[str, float]
    stage_folder: Path
    step: int

    def predictions(self) -> dict[str, Any]:
        files = sorted(predictions_path(self.stage_folder, self.step).glob("*.json"))
        return {file.stem: json.loads(file.read_text()) for file in files}


def _check_exploration(stages: list[Stage], search: SearchSettings | None) -> None:
    exploring = [stage.name for stage in stages if stage.explores]
    if stages[-1].explores or len(exploring) > 1:
        raise ValueError(
            f"stages {exploring} explore: one may, and another stage must come after it, in which the weights learn "
            "with the widths that were found. Plan explore_then_refine(...)."
        )
    if bool(exploring) != (search is not None):
        raise ValueError(
            f"stage {exploring[0]!r} explores bit-widths: pass search=AdaQATSettings(...) or Allocation(...)."
            if exploring
            else "search is given and no stage explores: plan explore_then_refine(...), or leave search out."
        )


def _check_device() -> None:
    """Several devices would take several batches a step, which is another experiment under the same name."""
    cards, processes = torch.cuda.device_count(), int(os.environ.get("WORLD_SIZE", "1"))
    if max(cards, processes) > 1:
        raise ValueError(
            f"a plan is trained on one device, and this is {cards} GPUs and {processes} processes: show one GPU by "
            "CUDA_VISIBLE_DEVICES=0, start one process, and give each GPU experiments of its own"
        )


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory is what a training failed for: torch has no class of its own for the processor's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("allocate memory", "out of memory", "ALLOC_FAILED")
    )


def _smaller(parts: int, batch_size: int, stage: Stage, error: Exception) -> int:
    """Into how many parts a batch is cut after it did not fit in so many."""
    if stage.explores or batch_size % (2 * parts):
        raise MemoryError(
            f"a batch of {batch_size // parts} examples does not fit into memory at stage {stage.name!r}, and cannot "
            f"be cut in two{' while bit-widths are learned' * stage.explores}: run less beside it, or a smaller model"
        ) from error
    logger.warning(
        "out of memory: a batch of %d goes through in %d parts from here on (%s)",
        batch_size, 2 * parts, str(error).partition("\n")[0],
    )  # fmt: skip
    return 2 * parts


def _distillation_loss(stage, student, teacher, layer_map) -> DistillationLoss:
    if teacher is None:
        raise ValueError(
            f"stage {stage.name!r} distils, and no teacher was given. Pass teacher=..., or plan finetune()."
        )
    layer_map = layer_map or LayerMap.uniform(student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    loss = DistillationLoss(stage.terms, layer_map)
    loss.check(student.config, teacher.config)
    return loss


def _trainer(
    student,
    stage,
    task,
    tokenizer,
    data,
    folder,
    loss,
    teacher,
    steps,
    due,
    *,
    learning_rate,
    batch_size,
    parts,
    seed,
    compute,
    search,
    pause,
) -> DistillationTrainer:
    spec = task.spec
    primary_split = next(iter(data["evaluation"]))
    on_cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=learning_rate * stage.lr_factor,
        max_steps=steps,
        per_device_train_batch_size=batch_size // parts,
        gradient_accumulation_steps=parts,
        per_device_eval_batch_size=64,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        adam_epsilon=ADAM_EPSILON,
        max_grad_norm=MAX_GRAD_NORM,
        seed=seed,
        # Finite differences of a search drown in the rounding of bfloat16: of 40 single widths on SST-2, lowered by a
        # bit at the beginning of a search, 26 kept the sign of the difference, whose error was as large as itself.
        bf16=compute == "bf16" and not stage.explores,
        tf32=None if on_cpu else compute == "tf32" and not stage.explores,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        # Evaluations and checkpoints are asked for by PlannedEvaluations; the strategy only says what a best one is.
        save_strategy="steps",
        save_steps=10**9,
        # The best and the last one. With a limit of 1 the Trainer deletes the last one before the stage is finished.
        save_total_limit=2,
        metric_for_best_model=f"{primary_split}_{spec.primary_metric}",
        greater_is_better=True,
        # Fifty points a stage, however long it is. A ratio would differ from the number in a checkpoint of it.
        logging_steps=math.ceil(steps / 50),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = DistillationTrainer(
        distillation=loss,
        teacher=teacher,
        search=search,
        model=student,
        args=arguments,
        train_dataset=data["train"],
        eval_dataset=data["evaluation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[PlannedEvaluations(due), ProgressLine(stage), PauseWhen(pause)],
    )
    trainer.remove_callback(PrinterCallback)
    # Worth a pass of its own where every example is seen twice. On a GPU, reading which ones a batch has would wait.
    if loss and on_cpu and not isinstance(spec, QuestionSpec) and steps * batch_size >= 2 * len(data["train"]):
        trainer.teacher = RememberedTeacher(trainer.teacher, loss, data["train"], trainer.data_collator)
    return trainer


def _finish_stage(trainer: DistillationTrainer, student: PreTrainedModel, folder: Path) -> None:
    """Keep the last and the best weights, and the history as the sign that the stage is complete; drop the rest."""
    student.to("cpu")
    trainer.teacher = None  # and what it remembers: the trainer itself waits for the garbage collector
    with saving(f"the checkpoints in {folder} are kept"):
        save_model(student, folder / "last.safetensors")
        if trainer.search is not None:
            # No evaluation of an exploration is its best: the widths are those of its end.
            report = trainer.search.report()
            write_atomically(folder / "exploration.json", json.dumps(report))
            logger.info(
                "exploration ended (%s) after %d steps: %.2f weight bits, %.2f activation bits on average",
                *(report[name] for name in ("ended", "steps", "mean_weights", "mean_activations")),
            )
        elif trainer.state.best_model_checkpoint:  # a short stage may see no evaluation
            best = Path(trainer.state.best_model_checkpoint) / "model.safetensors"
            shutil.copyfile(best, folder / "best.safetensors")
        write_atomically(folder / "history.json", json.dumps(trainer.state.log_history))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
