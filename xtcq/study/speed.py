"""What is left of a study in steps, hours and bytes, from a few training steps that are taken for the purpose."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import psutil
import torch
from transformers.trainer_utils import SaveStrategy

from xtcq.quantization import use_score_attention
from xtcq.study.experiment import Experiment
from xtcq.study.records import runs_folder
from xtcq.study.students import build_student
from xtcq.tasks import encode, load_task
from xtcq.training import DistillationTrainer, TrainSettings, distillation_loss
from xtcq.training.number_format import VARIABLE, choose
from xtcq.training.settings import training_arguments

STEPS = 3
# A run keeps its last and its best checkpoint, each with two moments a weight, and the weights of every stage.
_COPIES_OF_WEIGHTS = 12


def estimate(left: Sequence[Experiment], jobs: int = 1) -> dict[str, float]:
    """Measure a few steps of every task, of a teacher and of a student, and count what ``jobs`` processes have left.

    Returns:
        ``runs`` and ``steps`` without a Record, teachers to be trained again for their weights included; ``hours`` for
        all processes together; and the ``bytes`` that their weights need in the folder of runs, of those that are
        ``free`` there. Steps are timed alone, on texts of median length; evaluations, and what processes take from each
        other, come on top.
    """
    kinds = {(e.task, e.teacher is None): e for e in left}
    jobs = min(jobs, psutil.cpu_count() or 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (psutil.cpu_count() or 1) // jobs))
    try:
        seconds = {kind: measure_step(experiment) for kind, experiment in kinds.items()}
    finally:
        torch.set_num_threads(threads)
    total = sum(e.steps * seconds[e.task, e.teacher is None] for e in left)
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "runs": len(left),
        "steps": sum(e.steps for e in left),
        "hours": total / 3600 / jobs,
        "bytes": _bytes(left, jobs),
        "free": shutil.disk_usage(folder).free,
    }


def _bytes(left: Sequence[Experiment], jobs: int) -> int:
    models = {experiment.model: experiment for experiment in left}
    built = {name: build_student(experiment, pretrained=False)[0] for name, experiment in models.items()}
    sizes = {name: sum(parameter.nbytes for parameter in model.parameters()) for name, model in built.items()}
    return sum(sizes[e.model] for e in left) + jobs * _COPIES_OF_WEIGHTS * max(sizes.values(), default=0)


def measure_step(experiment: Experiment) -> float:
    """Seconds of a training step, the least of `STEPS`, from untrained weights on texts of median length."""
    student, tokenizer = build_student(experiment, pretrained=False)
    stage = ([one for one in experiment.plan() if one.distils] or experiment.plan())[-1]
    loss, teacher = None, None
    if stage.distils and experiment.teacher is not None:
        teacher = use_score_attention(build_student(experiment.teacher, pretrained=False)[0])
        loss = distillation_loss(stage, use_score_attention(student), teacher, experiment.layer_map)
    spec, texts = experiment.spec, load_task(experiment.task).train
    by_length = texts.iloc[texts[list(spec.columns)].map(len).sum(axis=1).argsort()]
    middle = by_length.iloc[len(texts) // 2 :][: spec.batch_size * (STEPS + 1)]
    rate, compute = experiment.learning_rate, choose(os.environ.get(VARIABLE) or "fp32")
    settings = TrainSettings(learning_rate=rate, batch_size=spec.batch_size, seed=0, compute=compute)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(stage, settings, STEPS + 1, Path(folder), 1, 0)
        arguments.save_strategy = SaveStrategy.NO
        trainer = DistillationTrainer(
            distillation=loss,
            teacher=teacher,
            model=student,
            args=arguments,
            train_dataset=encode(middle, spec, tokenizer),
            processing_class=tokenizer,
        )
        trainer.train()
    ends = [entry["train_seconds"] for entry in trainer.state.log_history if "loss" in entry]
    return min(later - end for end, later in pairwise(ends))
