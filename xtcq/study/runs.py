"""Run an experiment: once, resumable, with what it needs before it."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.encoder import load_encoder
from xtcq.files import saving, whole_file
from xtcq.quantization import bitops, get_widths, model_size, use_score_attention
from xtcq.study import regime
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, load_record, record_path, save_record
from xtcq.study.students import (
    build_student,
    is_trained,
    keep_scores,
    load_student,
    readable,
    scores_here,
    weights_path,
)
from xtcq.tasks import data_digest, has_learned, load_augmented_task, load_task
from xtcq.training import Paused, TrainSettings, train
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


def trained_student(
    experiment: Experiment, pause: Callable[[], bool] = lambda: False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the trained model of an experiment, training it first if it is not here; as `make`, then `load_student`."""
    make(experiment, pause)
    return load_student(experiment)


def make(experiment: Experiment, pause: Callable[[], bool] = lambda: False, shared: int | None = None) -> Path:
    """Make both the Record and the weights of an experiment, whatever of them is missing, and return the weights' file.

    Args:
        experiment: what to run.
        pause: as for `run`, whose errors this one's are too.
        shared: number of runs that share the machine; `side_by_side` if left out.
    """
    weights = weights_path(experiment)
    if is_trained(experiment):
        _drop_checkpoints(experiment)
        return weights
    regime.check(experiment)
    with saving("nothing was trained"):  # before hours of training, not after them
        folder = record_path(experiment).parent
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
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
            # Weights of an experiment whose Record is already published leave that Record as it is.
            again = record_path(experiment).exists()
            if again:
                logger.info(
                    "train again: %s (%s) has its Record, and its weights are not here; the Record stays as it is",
                    *(experiment, experiment.digest),
                )
            record = _train(experiment, weights, pause, shared or side_by_side())
            if not again:
                save_record(record)
            elif (said := load_record(record_path(experiment)).best) != record.best:
                logger.warning(
                    "%s (%s): the new weights score %s, and its Record says %s; the Records of their students will say "
                    "so",
                    *(experiment, experiment.digest, _shown(record.best), _shown(said)),
                )
            _drop_checkpoints(experiment)
    return weights


def _train(experiment: Experiment, weights: Path, pause: Callable[[], bool], shared: int) -> Record:
    teacher = trained_student(experiment.teacher, pause)[0] if experiment.teacher else None
    teacher_scores = scores_here(experiment.teacher) if experiment.teacher else None
    start = None
    if experiment.start:
        begun = make(experiment.start, pause)
        with readable(begun):
            start = load_file(begun)
    student, tokenizer = build_student(experiment, teacher, start)
    if teacher is not None and any(stage.distils for stage in experiment.plan()):
        use_score_attention(student)
        use_score_attention(teacher)
    spec = experiment.spec
    compute = number_format(weights.parent)
    logger.info("train: %s (%s), %s", experiment, experiment.digest, compute)
    task = load_task(experiment.task)
    data = data_digest(task)
    _check_needed(experiment, data, teacher_scores)
    if experiment.augmentation != "none":
        # Words are replaced by what the pre-trained encoder holds to be like them, so no teacher looks on.
        encoder, _ = load_encoder(experiment.model, spec.num_labels)
        task = load_augmented_task(experiment.task, experiment.augmentation, encoder, tokenizer)
    settings = TrainSettings(
        learning_rate=experiment.learning_rate,
        batch_size=spec.batch_size,
        seed=experiment.seed,
        evaluations=experiment.evaluations,
        epoch_steps=spec.epoch_steps,
        compute=compute,
        adaqat=None if experiment.adaqat is None else regime.search_settings(experiment),
        side_by_side=shared,
    )
    result = train(
        student,
        experiment.plan(),
        task,
        tokenizer,
        weights.parent,
        settings,
        teacher=teacher,
        layer_map=experiment.layer_map,
        pause=pause,
    )
    student.cpu()
    with whole_file(weights) as temporary:
        save_model(student, str(temporary))
        keep_scores(experiment, {"best": result.best, "last": result.last}, temporary)
    record = Record(
        experiment=experiment,
        settings=experiment.settings,
        method=METHOD,
        **vars(result) | {"exploration": _exploration(experiment, student, result.exploration)},
        size=asdict(model_size(student)),
        bitops=bitops(student),
        side_by_side=shared,
        compute=compute,
        data=data,
        teacher_scores=_told(experiment.teacher, teacher_scores),
        **_provenance(),
    )
    logger.info("done: %s: best %s in %.0f s", experiment, _shown(record.best), record.train_seconds)
    return record


def _shown(metrics: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.1f}" for name, value in metrics.items())


def _told(teacher: Experiment | None, scores: dict[str, dict[str, float]] | None) -> dict[str, dict[str, float]] | None:
    """The scores of a student's teacher, if its Record does not say the same."""
    if teacher is None:
        return None
    record = load_record(record_path(teacher))
    return None if scores == {"best": record.best, "last": record.last} else scores


def _exploration(
    experiment: Experiment, student: PreTrainedModel, report: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The report of AdaQAT, with what its widths cost per weight, and what it lacked."""
    if report is None:
        return None
    report = regime.judged(experiment, report)
    sizes = {name: student.get_parameter(f"{name}.weight").numel() for name in report["widths"]}
    products = {name: weights * inputs for name, (weights, inputs) in get_widths(student).items()}
    return report | {"average": sum(size * products[name] for name, size in sizes.items()) / sum(sizes.values())}


def _check_needed(experiment: Experiment, data: str, teacher_scores: dict[str, dict[str, float]] | None) -> None:
    """Refuse what a student needs if it is of other data, and a teacher that has learned nothing."""
    for role, needed in (("start", experiment.start), ("teacher", experiment.teacher)):
        if needed is None:
            continue
        record = load_record(record_path(needed))
        if record.data != data:
            raise ValueError(
                f"the {role} {record.digest} was trained on {experiment.task} data of digest {record.data}, and here "
                f"it is {data}: bring the same files, or delete that Record and its run"
            )
    if experiment.teacher is None or teacher_scores is None:
        return
    spec = experiment.spec
    if not spec.synthetic and not has_learned(spec, score := teacher_scores["best"][spec.primary_metric]):
        raise ValueError(
            f"the teacher {experiment.teacher.digest} scores {score:.1f} on {experiment.task}, which is no more than "
            "chance gives: train it longer or at another rate before any student"
        )


def _drop_checkpoints(experiment: Experiment) -> None:
    """Delete the stages of a trained run. Another process may be doing so too, and one that was killed had not."""
    if is_trained(experiment):
        for stage in weights_path(experiment).parent.glob("stage-*"):
            shutil.rmtree(stage, ignore_errors=True)


def side_by_side() -> int:
    """How many processes share this machine, as whoever started them said in ``XTCQ_SIDE_BY_SIDE``; 1 otherwise."""
    return int(os.environ.get("XTCQ_SIDE_BY_SIDE") or 1)


def _provenance() -> dict[str, Any]:
    """Where a run was measured: the fields ``device``, ``versions`` and ``commit`` of a Record."""
    versions = {"python": platform.python_version()}
    for name in ("xtcq", "torch", "transformers", "accelerate"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        processor = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
        device = f"CPU {processor}, {torch.get_num_threads()} threads"
    commit = os.environ.get("XTCQ_COMMIT")  # of a copy of the files without their history
    if not commit and (git := shutil.which("git")):
        asked = [git, "rev-parse", "HEAD"]
        found = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        commit = found.stdout.strip()
    return {"device": device, "versions": versions, "commit": commit or None}
