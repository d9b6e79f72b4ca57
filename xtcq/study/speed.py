"""What is left of a study in steps, hours and bytes, from a few training steps that are taken for the purpose."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from transformers import DataCollatorWithPadding

from xtcq.quantization import use_score_attention
from xtcq.study.experiment import Experiment
from xtcq.study.records import runs_folder
from xtcq.study.students import build_student
from xtcq.tasks import encode, load_task
from xtcq.training import distillation_loss
from xtcq.training.number_format import VARIABLE, choose

STEPS = 3
# A run keeps its last and its best checkpoint, each with two moments a weight, and the weights of every stage.
_COPIES_OF_WEIGHTS = 12


@dataclass(frozen=True)
class Estimate:
    """What is left of a study.

    Attributes:
        runs, steps: without a Record, teachers to be trained again for their weights included.
        hours: for all processes together. Steps are timed alone, launched one by one, on texts of median length;
            evaluations, and what processes take from each other, come on top.
        bytes, free: that their weights need in the folder of runs, and that are free there.
    """

    runs: int
    steps: int
    hours: float
    bytes: int
    free: int


def estimate(left: Sequence[Experiment], jobs: int = 1) -> Estimate:
    """Measure a few steps of every task, of a teacher and of a student, and count what ``jobs`` processes have left."""
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
    free = shutil.disk_usage(folder).free
    return Estimate(len(left), sum(e.steps for e in left), total / 3600 / jobs, _bytes(left, jobs), free)


def _bytes(left: Sequence[Experiment], jobs: int) -> int:
    models = {experiment.model: experiment for experiment in left}
    built = {name: build_student(experiment, pretrained=False)[0] for name, experiment in models.items()}
    sizes = {name: sum(parameter.nbytes for parameter in model.parameters()) for name, model in built.items()}
    return sum(sizes[e.model] for e in left) + jobs * _COPIES_OF_WEIGHTS * max(sizes.values(), default=0)


def measure_step(experiment: Experiment) -> float:
    """Seconds of a training step, the least of `STEPS`, from untrained weights on a batch of texts of median length."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    student, tokenizer = build_student(experiment, pretrained=False)
    loss, teacher = None, None
    distilling = [stage for stage in experiment.plan() if stage.distils]
    if experiment.teacher is not None and distilling:
        teacher = use_score_attention(build_student(experiment.teacher, pretrained=False)[0].eval().to(device))
        loss = distillation_loss(distilling[-1], use_score_attention(student), teacher, experiment.layer_map)
    spec = experiment.spec
    data = encode(load_task(experiment.task).train, spec, tokenizer)
    middle = sorted(range(len(data)), key=data.lengths.__getitem__)[len(data) // 2 :][: spec.batch_size]
    collated = DataCollatorWithPadding(tokenizer)([data[index] for index in middle])
    batch = {name: value.to(device) for name, value in collated.items()}
    student.train().to(device)
    optimizer = torch.optim.AdamW(student.parameters())
    short = choose(os.environ.get(VARIABLE, "fp32")) == "bf16"
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=short):
            output = student(**batch, output_hidden_states=True, output_attentions=loss is not None)
        if loss is None or teacher is None:
            total = output.loss
        else:
            with torch.no_grad():
                target = teacher(**batch, output_hidden_states=True, output_attentions=True)
            total, _ = loss(output, target, batch["attention_mask"])
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        total.item()  # is waited for
        times.append(time.perf_counter() - start)
    return min(times[1:])
