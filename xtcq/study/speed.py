"""How long a training step takes on this machine, from a few that are taken for the purpose."""

from __future__ import annotations

import time

import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from xtcq.distillation import DistillationLoss, LayerMap
from xtcq.quantization import use_score_attention
from xtcq.study.experiment import Experiment
from xtcq.study.runs import untrained
from xtcq.tasks import encode, load_task, task_spec

STEPS = 3


def measure_step(experiment: Experiment) -> float:
    """Time a few training steps of an experiment from untrained weights, on a batch of texts of median length.

    Args:
        experiment: whose teacher need not be trained.

    Returns:
        Seconds a step, the least of `STEPS`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    student, tokenizer = untrained(experiment)
    teacher = untrained(experiment.teacher)[0] if experiment.teacher else None
    loss = None
    for stage in experiment.plan():
        if stage.distils:
            layers = LayerMap.kept(experiment.layers) if experiment.layers else None
            depths = student.config.num_hidden_layers, teacher.config.num_hidden_layers
            loss = DistillationLoss(stage.terms, layers or LayerMap.uniform(*depths))
            use_score_attention(student)
            use_score_attention(teacher.to(device).eval())
    spec = task_spec(experiment.task)
    data = encode(load_task(experiment.task).train, spec, tokenizer)
    middle = sorted(range(len(data)), key=data.lengths.__getitem__)[len(data) // 2 :][: spec.batch_size]
    collate = DataCollatorWithPadding(tokenizer)
    (batch,) = DataLoader([data[index] for index in middle], spec.batch_size, collate_fn=collate)
    batch = {name: value.to(device) for name, value in batch.items()}
    student.to(device).train()
    optimizer = torch.optim.AdamW(student.parameters())
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        output = student(**batch, output_hidden_states=True, output_attentions=loss is not None)
        if loss is None:
            total = output.loss
        else:
            with torch.no_grad():
                target = teacher(**batch, output_hidden_states=True, output_attentions=True)
            total, _ = loss(output, target, batch["attention_mask"])
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(float(total.detach()) * 0 + time.perf_counter() - start)  # the value is waited for
    return min(times[1:])
