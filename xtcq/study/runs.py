"""Run an experiment: once, resumable, with what it needs before it."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.allocation import SearchSpace
from xtcq.distillation import LayerMap, reduce_layers
from xtcq.encoder import load_encoder
from xtcq.files import whole_file
from xtcq.quantization import bitops, get_widths, model_size, quantize, use_score_attention
from xtcq.study import regime
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, load_record, record_path, runs_folder, save_record
from xtcq.tasks import data_digest, has_learned, load_augmented_task, load_task, task_spec
from xtcq.training import Paused, train
from xtcq.training.allocated import allocate
from xtcq.training.number_format import number_format
from xtcq.training.settings import METHOD

logger = logging.getLogger(__name__)


def run(experiment: Experiment, pause: Callable[[], bool] = lambda: False) -> Record:
    """Return the Record of an experiment, training only if there is none yet.

    A run that was interrupted goes on from its last checkpoint. Two processes that ask for the same experiment train it
    once: the second waits for the first, and logs what it waits for.

    Args:
        experiment: what to run. Its teacher, and the run that it starts from, are trained first if their weights are
            not there.
        pause: asked every few steps; once it says yes, the training stops with a checkpoint.

    Returns:
        The stored or the new Record.

    Raises:
        RecordError: if the stored Record cannot be used.
        ValueError: if the experiment learns bit-widths in too few steps, see ``xtcq.study.regime``; if its teacher has
            learned nothing or was trained on other data.
        FloatingPointError: if training diverges.
        OSError: if there is no space to save; the checkpoints before that stay.
        Paused: if ``pause`` asked for it.
    """
    if record_path(experiment).exists():
        _drop_checkpoints(experiment)
        return load_record(record_path(experiment))
    make(experiment, pause)
    return load_record(record_path(experiment))


def is_trained(experiment: Experiment) -> bool:
    """Whether the Record of an experiment and its weights are on this machine: `load_student` would train nothing."""
    return weights_path(experiment).exists() and record_path(experiment).exists()


def load_student(
    experiment: Experiment, pause: Callable[[], bool] = lambda: False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the trained model of an experiment, training it first if its weights are not there.

    Args:
        experiment: which one.
        pause: as for `run`.

    Returns:
        The model with the weights of its best evaluation, in evaluation mode, and its tokenizer, whose longest text is
        that of the task.
    """
    weights = make(experiment, pause)
    model, tokenizer = untrained(experiment)
    load_model(model, weights)
    # What it was trained on and no more: a packed copy cuts texts there too.
    tokenizer.model_max_length = task_spec(experiment.task).max_length
    return model.eval(), tokenizer


def weights_path(experiment: Experiment) -> Path:
    """The file that holds, or will hold, the trained weights of an experiment on this machine."""
    return runs_folder() / experiment.digest / "student.safetensors"


def make(experiment: Experiment, pause: Callable[[], bool] = lambda: False) -> Path:
    """Make both the Record and the weights of an experiment, whatever of them is missing.

    Args:
        experiment: what to run.
        pause: as for `run`.

    Returns:
        The file of the weights.

    Raises:
        RecordError, ValueError, FloatingPointError, OSError, Paused: as for `run`.
    """
    weights = weights_path(experiment)
    if is_trained(experiment):
        _drop_checkpoints(experiment)
        return weights
    regime.check(experiment)
    weights.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(weights.parent.with_suffix(".lock"))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        logger.info(
            "wait: %s (%s), another process trains it and holds %s", experiment, experiment.digest, lock.lock_file
        )
        while True:
            try:
                held = lock.acquire(timeout=2)
                break
            except Timeout:
                if pause():
                    raise Paused(f"another process still holds {lock.lock_file}") from None
    with held:
        if not is_trained(experiment):
            record = _train(experiment, weights, pause)
            # Weights of an experiment whose Record is already published leave that Record as it is.
            if not record_path(experiment).exists():
                save_record(record)
            _drop_checkpoints(experiment)
    return weights


def _train(experiment: Experiment, weights: Path, pause: Callable[[], bool]) -> Record:
    teacher, layer_map = None, None
    if experiment.teacher is not None:
        teacher, tokenizer = load_student(experiment.teacher, pause)
        layer_map = LayerMap.kept(experiment.layers) if experiment.layers else None
    start = load_file(make(experiment.start, pause)) if experiment.start else None
    student, tokenizer = untrained(experiment, teacher, start)
    if any(stage.distils for stage in experiment.plan()):
        use_score_attention(student)
        use_score_attention(teacher)
    spec = task_spec(experiment.task)
    compute = number_format(weights.parent)
    logger.info("train: %s (%s), %s", experiment, experiment.digest, compute)
    task = load_task(experiment.task)
    data = data_digest(task)
    _check_needed(experiment, data)
    if experiment.augmentation != "none":
        # Words are replaced by what the pre-trained encoder holds to be like them, so no teacher looks on.
        encoder, _ = load_encoder(experiment.model, spec.num_labels)
        task = load_augmented_task(experiment.task, experiment.augmentation, encoder, tokenizer)
    chosen = None
    if experiment.allocation is not None and not experiment.allocation.explores:
        reference, _ = _unquantized(experiment, teacher, start)
        chosen = allocate(experiment.allocation, student, reference, task, tokenizer, weights.parent)
    result = train(
        student,
        experiment.plan(),
        task,
        tokenizer,
        weights.parent,
        learning_rate=experiment.learning_rate,
        batch_size=spec.batch_size,
        seed=experiment.seed,
        evaluations=experiment.evaluations,
        epoch_steps=experiment.epoch_steps,
        compute=compute,
        teacher=teacher,
        layer_map=layer_map,
        search=experiment.search if experiment.adaqat is None else regime.search_settings(experiment),
        pause=pause,
    )
    student.to("cpu")
    with whole_file(weights) as temporary:
        save_model(student, temporary)
    record = Record(
        experiment=experiment,
        settings=experiment.settings,
        method=METHOD,
        best=result.best,
        last=result.last,
        predictions=result.predictions,
        history=result.history,
        size=_size(student),
        bitops=bitops(student),
        train_seconds=result.train_seconds,
        wall_seconds=result.wall_seconds,
        device=_device(),
        side_by_side=int(os.environ.get("XTCQ_SIDE_BY_SIDE", "1")),
        versions=_versions(),
        commit=_commit(),
        compute=compute,
        data=data,
        exploration=_exploration(experiment, student, chosen or result.exploration),
        micro_batch=result.micro_batch,
    )
    shown = " ".join(f"{name}={value:.1f}" for name, value in record.best.items())
    logger.info("done: %s: best %s in %.0f s", experiment, shown, record.train_seconds)
    return record


def _exploration(
    experiment: Experiment, student: PreTrainedModel, report: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The report of what chose the widths, with what they cost per weight, and of AdaQAT what it lacked."""
    if report and experiment.adaqat is not None:
        report = regime.judged(experiment, report)
    return report and report | {"average": SearchSpace.of(student).average(get_widths(student))}


def _check_needed(experiment: Experiment, data: str) -> None:
    """Refuse what a student needs if it is of other data, and a teacher that has learned nothing.

    Raises:
        ValueError: naming the run, what was measured, and the remedy.
    """
    for role, needed in (("start", experiment.start), ("teacher", experiment.teacher)):
        if needed is None:
            continue
        record = load_record(record_path(needed))
        if record.data != data:
            raise ValueError(
                f"the {role} {record.digest} was trained on {experiment.task} data of digest {record.data}, and here "
                f"it is {data}: bring the same files, or delete that Record and its run"
            )
    if experiment.teacher is None:
        return
    if not (spec := task_spec(experiment.task)).synthetic and not has_learned(spec, record.best[spec.primary_metric]):
        raise ValueError(
            f"the teacher {record.digest} scores {record.best[spec.primary_metric]:.1f} on {experiment.task}, which is "
            "no more than chance gives: train it longer or at another rate before any student"
        )


def untrained(
    experiment: Experiment, teacher: PreTrainedModel | None = None, start: dict[str, Tensor] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The student before its training: the weights of its teacher or of the encoder, reduced, replaced, quantized.

    Args:
        experiment: which one.
        teacher: its teacher, trained; the encoder as published stands in for it.
        start: trained weights that it begins with instead.

    Returns:
        The model and its tokenizer.
    """
    model, tokenizer = _unquantized(experiment, teacher, start)
    if experiment.quantized or experiment.lora_rank:
        quantize(model, experiment.quantization)
        if start:
            # What the quantizers had learned, and low-rank terms; the bit-widths are this experiment's own.
            learned = {name: value for name, value in start.items() if not name.endswith(".width")}
            model.load_state_dict(learned, strict=False)
    return model, tokenizer


def _unquantized(
    experiment: Experiment, teacher: PreTrainedModel | None = None, start: dict[str, Tensor] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The same in full precision."""
    # The head is new where there is no teacher: its values follow the seed.
    transformers.set_seed(experiment.seed)
    spec = task_spec(experiment.task)
    model, tokenizer = load_encoder(experiment.model, spec.num_labels, spec.head)
    if teacher is not None and experiment.cut_from_teacher:
        model = reduce_layers(teacher, experiment.layers or range(teacher.config.num_hidden_layers))
    elif experiment.kept:
        model = reduce_layers(model, experiment.kept)
    if start:
        # Latent weights before quantization, since a recipe may compute from them.
        missing = model.load_state_dict(start, strict=False).missing_keys
        if missing:
            raise ValueError(f"the run to begin with lacks {len(missing)} weights of this student, {missing[0]} first.")
    return model, tokenizer


def _drop_checkpoints(experiment: Experiment) -> None:
    """Delete the stages of a trained run. Another process may be doing so too, and one that was killed had not."""
    if is_trained(experiment):
        for stage in weights_path(experiment).parent.glob("stage-*"):
            shutil.rmtree(stage, ignore_errors=True)


def _size(model: PreTrainedModel) -> dict[str, float]:
    return asdict(model_size(model))


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return f"CPU {name}, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    names = ("xtcq", "torch", "transformers", "accelerate")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    if said := os.environ.get("XTCQ_COMMIT"):  # a copy of the files without their history
        return said
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
