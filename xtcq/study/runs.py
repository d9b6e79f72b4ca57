"""Run experiments: once each, resumable, side by side where asked."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout
from joblib import Parallel, delayed
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
from xtcq.study.records import Record, load_record, old_records, record_path, runs_folder, save_record
from xtcq.tasks import data_digest, has_learned, load_augmented_task, load_task, task_spec
from xtcq.training import train
from xtcq.training.allocated import allocate
from xtcq.training.number_format import number_format
from xtcq.training.settings import METHOD

logger = logging.getLogger(__name__)


def run(experiment: Experiment) -> Record:
    """Return the Record of an experiment, training only if there is none yet.

    A run that was interrupted goes on from its last checkpoint. Two processes that ask for the same experiment train it
    once: the second waits for the first, and logs what it waits for.

    Args:
        experiment: what to run. Its teacher, and the run that it starts from, are trained first if their weights are
            not there.

    Returns:
        The stored or the new Record.

    Raises:
        RecordError: if the stored Record cannot be used.
        ValueError: if the experiment learns bit-widths in too few steps, see ``xtcq.study.regime``; if its teacher has
            learned nothing or was trained on other data.
        FloatingPointError: if training diverges.
        OSError: if there is no space to save; the checkpoints before that stay.
    """
    if record_path(experiment).exists():
        _drop_checkpoints(experiment)
        return load_record(record_path(experiment))
    regime.check(experiment)
    _weights(experiment)
    return load_record(record_path(experiment))


def run_all(experiments: Iterable[Experiment], jobs: int = 1) -> list[Record]:
    """Run many experiments, teachers before students, and report every failure at the end.

    Args:
        experiments: the grid.
        jobs: processes side by side on the one device; each gets its share of the processor's cores.

    Returns:
        Records in the order of the experiments.

    Raises:
        ValueError: if an experiment learns bit-widths in too few steps; nothing was trained then.
        RuntimeError: if some runs failed; those that need none of them are finished and stored, and the message names
            each failure.
    """
    experiments = list(experiments)
    failures: dict[Experiment, str] = {}
    waves = _waves(experiments)
    for experiment in (experiment for wave in waves for experiment in wave):
        regime.check(experiment)
    for wave in waves:
        ready = []
        for experiment in wave:
            if experiment in failures:
                continue  # asked for itself, and needed by another: one failure is enough
            lacking = [other for other in (experiment.teacher, experiment.start) if other in failures]
            if lacking:
                failures[experiment] = f"{experiment} ({experiment.digest}): not run, it needs {lacking[0].digest}"
            else:
                ready.append(experiment)
        workers = max(1, min(jobs, len(ready)))
        results = Parallel(n_jobs=workers)(delayed(_attempt)(experiment, workers) for experiment in ready)
        failures |= {experiment: failure for experiment, failure in zip(ready, results, strict=True) if failure}
    if failures:
        total = len({experiment for wave in waves for experiment in wave})
        raise RuntimeError(f"{len(failures)} of {total} runs failed:\n" + "\n".join(failures.values()))
    return [run(experiment) for experiment in experiments]


def stored(experiments: Iterable[Experiment]) -> list[Record]:
    """Return the Records that exist; nothing is trained.

    Args:
        experiments: the grid.

    Returns:
        Records in the order of the experiments, those without one left out. Where there is only one of schema 1 it is
        that: whoever shows it says so.

    Raises:
        RecordError: if a stored Record cannot be used.
    """
    found = (load_record(path) if (path := record_path(e)).exists() else old_records().get(e) for e in experiments)
    return [record for record in found if record is not None]


def gather(experiments: Iterable[Experiment], train: bool, jobs: int = 1) -> tuple[list[Record], list[Record]]:
    """What a page is drawn from: the Records of its grid, and those of the teachers that students are measured against.

    Args:
        experiments: the grid.
        train: train what has no Record, teachers included. Otherwise nothing is trained, and what is not there is left
            out.
        jobs: as for `run_all`.

    Returns:
        Records of the grid in its order, and of `full_teachers`.

    Raises:
        RecordError: if a stored Record cannot be used.
        RuntimeError: as for `run_all`.
    """
    grid = list(experiments)
    teachers = full_teachers(grid)
    if not train:
        return stored(grid), stored(teachers)
    found = run_all([*grid, *teachers], jobs)
    return found[: len(grid)], found[len(grid) :]


def full_teachers(experiments: Iterable[Experiment]) -> list[Experiment]:
    """The experiments that fine-tune the full-precision models at the end of each chain of teachers, once each."""
    found = []
    for experiment in experiments:
        while experiment.teacher is not None:
            experiment = experiment.teacher
            if experiment.teacher is None:
                found.append(experiment)
    return list(dict.fromkeys(found))


def is_trained(experiment: Experiment) -> bool:
    """Whether the Record of an experiment and its weights are on this machine: `load_student` would train nothing."""
    return _weights_path(experiment).exists() and record_path(experiment).exists()


def load_student(experiment: Experiment) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the trained model of an experiment, training it first if its weights are not there.

    Args:
        experiment: which one.

    Returns:
        The model with the weights of its best evaluation, in evaluation mode, and its tokenizer, whose longest text is
        that of the task.
    """
    weights = _weights(experiment)
    model, tokenizer = _skeleton(experiment)
    load_model(model, weights)
    # What it was trained on and no more: a packed copy cuts texts there too.
    tokenizer.model_max_length = task_spec(experiment.task).max_length
    return model.eval(), tokenizer


def _attempt(experiment: Experiment, workers: int) -> str | None:
    """Run one experiment in a worker process; a failure comes back as a line of text, so that the others go on."""
    if workers > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("xtcq").setLevel(logging.INFO)
    try:
        os.environ["XTCQ_SIDE_BY_SIDE"] = str(workers)
        run(experiment)
    except Exception as error:  # any reason: the rest of a long grid must not be lost
        logger.exception("failed: %s", experiment)
        return f"{experiment} ({experiment.digest}): {type(error).__name__}: {error}"
    return None


def _waves(experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Experiments without a Record, in waves: what a student needs, its teacher or start, is in an earlier one."""
    waves: list[list[Experiment]] = []
    pending = [e for e in dict.fromkeys(experiments) if not record_path(e).exists()]
    while pending:
        waves.insert(0, pending)
        needed = dict.fromkeys(other for e in pending for other in (e.teacher, e.start) if other is not None)
        pending = [other for other in needed if not _weights_path(other).exists()]
    return waves


def _weights_path(experiment: Experiment) -> Path:
    return runs_folder() / experiment.digest / "student.safetensors"


def _weights(experiment: Experiment) -> Path:
    """The trained weights' file, made if need be; a missing Record is written along the way."""
    weights = _weights_path(experiment)
    if is_trained(experiment):
        _drop_checkpoints(experiment)
        return weights
    weights.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(weights.parent.with_suffix(".lock"))
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        logger.info(
            "wait: %s (%s), another process trains it and holds %s", experiment, experiment.digest, lock.lock_file
        )
        held = lock.acquire()
    with held:
        if not is_trained(experiment):
            record = _train(experiment, weights)
            # Weights of an experiment whose Record is already published leave that Record as it is.
            if not record_path(experiment).exists():
                save_record(record)
            _drop_checkpoints(experiment)
    return weights


def _train(experiment: Experiment, weights: Path) -> Record:
    teacher, layer_map = None, None
    if experiment.teacher is not None:
        teacher, tokenizer = load_student(experiment.teacher)
        layer_map = LayerMap.kept(experiment.layers) if experiment.layers else None
    start = load_file(_weights(experiment.start)) if experiment.start else None
    student, tokenizer = _skeleton(experiment, teacher, start)
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
        search=experiment.search,
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
        exploration=_exploration(student, chosen or result.exploration),
    )
    shown = " ".join(f"{name}={value:.1f}" for name, value in record.best.items())
    logger.info("done: %s: best %s in %.0f s", experiment, shown, record.train_seconds)
    return record


def _exploration(student: PreTrainedModel, report: dict[str, Any] | None) -> dict[str, Any] | None:
    """The report of what chose the widths, with what they cost per weight."""
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


def _skeleton(
    experiment: Experiment, teacher: PreTrainedModel | None = None, start: dict[str, Tensor] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The untrained student: the weights of its teacher or of the pre-trained encoder, reduced, replaced, quantized."""
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
        for stage in _weights_path(experiment).parent.glob("stage-*"):
            shutil.rmtree(stage, ignore_errors=True)


def _size(model: PreTrainedModel) -> dict[str, float]:
    return asdict(model_size(model))


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    names = ("xtcq", "torch", "transformers", "accelerate")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
