"""A plan is trained stage by stage, each one call of the Trainer."""

from __future__ import annotations

import copy
import ctypes
import json
import logging
import math
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.checks import check_choice
from xtcq.distillation import DistillationLoss, LayerMap, Stage
from xtcq.files import write_atomically
from xtcq.outputs import problem_type
from xtcq.tasks import TASKS, QuestionSpec, Task, encode, task_spec
from xtcq.tasks.dataset import EncodedDataset
from xtcq.training.fingerprint import claim, fingerprint
from xtcq.training.preflight import check_task, check_training, warn_of_texts
from xtcq.training.remembered import LIMIT, RememberedTeacher
from xtcq.training.settings import TrainSettings, evaluation_steps, stage_steps, training_arguments
from xtcq.training.stage_folder import (
    CLOCKS,
    EVALUATION_SPLITS,
    finish_stage,
    is_finished,
    newest_intact_checkpoint,
    read_history,
    read_predictions,
)
from xtcq.training.teacher import check_teacher
from xtcq.training.trainer import DistillationTrainer

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
            ``xtcq.tasks.EncodedDataset.evaluate``.
        train_seconds: seconds spent in training steps; of an interrupted run, in those that it kept.
        wall_seconds: the same with evaluations and checkpoints, loading left out.
        exploration: what the stage that learned bit-widths found, see ``xtcq.AdaQAT.report``; None without one.
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
    folder: str | Path,
    settings: TrainSettings,
    *,
    teacher: PreTrainedModel | None = None,
    layer_map: LayerMap | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Run the stages one after another, going on from ``folder`` if an earlier call was interrupted.

    Args:
        student: the model to train, changed in place; ends with the weights of its best evaluation, and with the task's
            number of texts as ``config.num_texts``, which a packed copy is asked by. If the call does not come to its
            end, the student has the weights that it was given.
        stages: the plan. A stage that explores may end before its time, once all widths are frozen; the stages after it
            keep their length.
        task: training and evaluation frames.
        tokenizer: the student's.
        folder: where checkpoints and finished stages lie; may be deleted once the result is stored. Each stage's holds
            what decides its result, see ``xtcq.training.fingerprint``, and goes on with nothing else.
        settings: everything else that decides the result.
        teacher: needed by distillation stages; put into evaluation mode and never changed.
        layer_map: the pairs of layers; the uniform map if left out.
        pause: asked at every step that is logged; once it says yes, a checkpoint is saved and `Paused` raised.

    Returns:
        The result. Of several GPUs it was computed on the first; ``CUDA_VISIBLE_DEVICES`` says which that is.

    Raises:
        ValueError: if student, teacher, tokenizer, task, stages and settings do not fit one another, see
            ``xtcq.training.preflight``; if a stage is too short for one step; if there are several processes; if there
            is no example; if ``folder`` holds another training.
        FloatingPointError: if the loss is no longer finite.
        MemoryError: if not even a single example fits, or a batch of a stage that explores.
        OSError: if there is no space to save; the message says what is kept, and a later call goes on from there.
        Paused: if ``pause`` asked for it.

    Warns:
        TeacherWarning, UserWarning: of a task that is not one of ``xtcq.tasks.TASKS``, the teacher does not know it, or
            much of its texts is unknown to the tokenizer or is cut.
    """
    folder = Path(folder)
    _check(stages, task, folder, settings)
    # The official ones are known, and so are their teachers.
    own = task.spec.name not in TASKS or task.spec != task_spec(task.spec.name)
    if own:
        check_task(task)
    check_training(student, teacher, tokenizer, task.spec)
    losses = [distillation_loss(stage, student, teacher, layer_map) if stage.distils else None for stage in stages]
    facts = fingerprint(student, stages, task, tokenizer, settings, teacher, layer_map)
    begun = [claim(folder / f"stage-{index}", facts) for index in range(len(stages))]
    if teacher is not None and own and any(losses):
        check_teacher(teacher, task, tokenizer)
    keep_freed_memory()
    data = encode(task.train, task.spec, tokenizer)
    if own:
        warn_of_texts([data[row]["input_ids"] for row in range(len(data))], tokenizer, task.spec.max_length)
    evaluated = {split: encode(frame, task.spec, tokenizer) for split, frame in task.evaluation.items()}
    lengths = stage_steps(stages, settings.epoch_steps or math.ceil(len(data) / settings.batch_size))
    due = evaluation_steps(sum(lengths), settings.evaluations)
    history: list[dict[str, Any]] = []
    candidates: list[tuple[dict[str, float], Path, int]] = []  # metrics, and where what is behind them lies
    exploration = None
    # Kept beside the checkpoints: what goes on from them must cut its batches likewise, and nothing else.
    cut = folder / "parts"
    if not any(begun):
        cut.unlink(missing_ok=True)
    parts = int(cut.read_text()) if cut.exists() else 1
    with _unchanged_unless_done(student) as before:
        for index, (stage, steps) in enumerate(zip(stages, lengths, strict=True)):
            stage_folder, begins = folder / f"stage-{index}", sum(lengths[:index])
            loss, finished = losses[index], is_finished(stage_folder)
            while not finished:
                arguments = training_arguments(stage, settings, steps, stage_folder, parts, index)
                # Evaluations and checkpoints are asked for by ``due``; this only says what a best one is.
                arguments.metric_for_best_model = f"{next(iter(evaluated))}_{task.spec.primary_metric}"
                here = {step - begins for step in due if begins < step <= begins + steps}
                trainer = DistillationTrainer(
                    distillation=loss,
                    teacher=teacher,
                    adaqat=settings.adaqat if stage.explores else None,
                    model=student,
                    args=arguments,
                    train_dataset=data,
                    eval_dataset=evaluated,
                    processing_class=tokenizer,
                    due=here,
                    pause=pause,
                )
                if loss and teacher is not None and _worth_remembering(task, data, steps, settings):
                    collate, limit = trainer.data_collator, LIMIT // settings.side_by_side
                    trainer.teacher = RememberedTeacher(teacher, loss, data, collate, limit)
                try:
                    trainer.go_on(newest_intact_checkpoint(stage_folder))
                except (MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    if stage.explores or settings.batch_size % (2 * parts):
                        raise MemoryError(
                            f"a batch of {settings.batch_size // parts} examples does not fit into memory and cannot "
                            f"be cut in two{' while bit-widths are learned' * stage.explores}: run less beside it, or "
                            "a smaller model"
                        ) from error
                    parts *= 2
                    write_atomically(cut, str(parts))
                    logger.warning(
                        "out of memory: a batch of %d goes through in %d parts from here on (%s)",
                        *(settings.batch_size, parts, str(error).partition("\n")[0]),
                    )
                    del trainer  # and with it what it holds of the device's memory
                    # There may be no checkpoint yet to go on from.
                    if index:
                        load_model(student, folder / f"stage-{index - 1}" / "last.safetensors")
                    else:
                        student.load_state_dict(before)
                    continue
                if trainer.paused:
                    raise Paused(f"{stage.name}: paused after step {trainer.state.global_step} of {steps}")
                finish_stage(trainer, stage_folder)
                finished = True
            load_model(student, stage_folder / "last.safetensors")
            entries = read_history(stage_folder, index, stage, history)
            if stage.explores:  # before its widths are fixed a student is another one
                exploration = json.loads((stage_folder / "exploration.json").read_text())
            else:
                offset = history[-1]["step"] if history else 0
                points = [entry for entry in entries if "metrics" in entry]
                candidates += [(entry["metrics"], stage_folder, entry["step"] - offset) for entry in points]
            history += entries

    best, last = max(candidates, key=lambda found: found[0][task.spec.primary_metric]), candidates[-1]
    load_model(student, best[1] / "best.safetensors")
    student.config.num_texts = len(task.spec.columns)
    return TrainingResult(
        history=history,
        best=best[0],
        last=last[0],
        predictions={"best": read_predictions(*best[1:]), "last": read_predictions(*last[1:])},
        **{clock: history[-1][clock] for clock in CLOCKS},
        exploration=exploration,
        micro_batch=None if parts == 1 else settings.batch_size // parts,
    )


def keep_freed_memory() -> None:
    """Make glibc reuse what is freed instead of giving it back; no other C library is changed.

    A training step frees its activations and the gradient of the embedding table. Blocks of that size go back to the
    system at once, which hands the next step pages that it must map and clear again, one fault each. The numbers are
    the same bit for bit, and so is the most memory in use; it falls less between steps and afterwards.
    """
    if platform.libc_ver()[0] == "glibc":
        library, (trim_threshold, mmap_threshold) = ctypes.CDLL(None), (-1, -3)  # from <malloc.h>
        # Versions before 2.35 refuse more than 32 MiB.
        library.mallopt(mmap_threshold, 2**30) or library.mallopt(mmap_threshold, 2**25)
        library.mallopt(trim_threshold, 2**31 - 1)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what a training failed for: torch has no class of its own for the processor's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("allocate memory", "out of memory", "ALLOC_FAILED")
    )


@contextmanager
def _unchanged_unless_done(student: PreTrainedModel) -> Iterator[dict[str, Any]]:
    """Yield a student's weights, and give them back to it if the block fails: what goes on later begins with them."""
    before = copy.deepcopy(student.state_dict())
    try:
        yield before
    except BaseException:
        student.load_state_dict(before)
        raise


def distillation_loss(
    stage: Stage, student: PreTrainedModel, teacher: PreTrainedModel | None, layer_map: LayerMap | None = None
) -> DistillationLoss:
    """The loss of a stage that distils, over a layer map, the uniform one if left out.

    Raises:
        ValueError: there is no teacher, or it does not fit the student.
    """
    if teacher is None:
        raise ValueError(
            f"stage {stage.name!r} distils, and no teacher was given. Pass teacher=..., or plan finetune()."
        )
    layer_map = layer_map or LayerMap.uniform(student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    loss = DistillationLoss(stage.terms, layer_map, problem_type(student.config))
    loss.check(student.config, teacher.config)
    return loss


def _check(stages: list[Stage], task: Task, folder: Path, settings: TrainSettings) -> None:
    if not isinstance(settings, TrainSettings):
        raise ValueError(
            f"settings is {settings!r}, expected TrainSettings(learning_rate=..., batch_size=..., seed=...)"
        )
    if isinstance(stages, Stage) or not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError(f"stages is {stages!r}, expected a list of at least one Stage: plan finetune(3), say")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder {folder} is a file: give the name of a folder, which is made if needed")
    sizes = {"train": len(task.train)} | {split: len(frame) for split, frame in task.evaluation.items()}
    if len(sizes) < 2 or not all(sizes.values()):
        raise ValueError(f"task {task.spec.name!r} has {sizes} examples, expected some to train and to evaluate on")
    for split in task.evaluation:
        check_choice("evaluation split", split, EVALUATION_SPLITS)
    exploring = [stage.name for stage in stages if stage.explores]
    if stages[-1].explores or len(exploring) > 1:
        raise ValueError(
            f"stages {exploring} explore: one may, and another stage must come after it, in which the weights learn "
            "with the widths that were found. Plan explore_then_refine(...)."
        )
    if exploring and settings.adaqat is None:
        raise ValueError(f"stage {exploring[0]!r} explores bit-widths: give TrainSettings adaqat=AdaQATSettings(...).")
    if settings.adaqat is not None and not exploring:
        raise ValueError("adaqat is given and no stage explores: plan explore_then_refine(...), or leave it out.")
    # Several would take several batches a step, which is another experiment under the same name.
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ValueError(
            f"a plan is trained on one device, and this is one of {processes} processes: start one, and give each GPU "
            "experiments of its own by CUDA_VISIBLE_DEVICES"
        )


def _worth_remembering(task: Task, data: EncodedDataset, steps: int, settings: TrainSettings) -> bool:
    """Whether a teacher's outputs are: every example is seen twice. On a GPU, reading which ones a batch has waits."""
    twice = steps * settings.batch_size >= 2 * len(data)
    return twice and not torch.cuda.is_available() and not isinstance(task.spec, QuestionSpec)
