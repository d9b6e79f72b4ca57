"""What decides a training run beside its plan, its data and its models, and how long the plan then is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainingArguments

from xtcq.adaqat import AdaQATSettings
from xtcq.checks import check_choice, check_integer, check_positive
from xtcq.distillation import Stage
from xtcq.training.number_format import FORMATS

# The rest of this block is part of a Record's identity without being a field of an experiment. METHOD is raised by hand
# whenever the arithmetic of training changes, so that results before and after are never taken for results of one
# method. Method 2 rounds lengths to steps, evaluates every plan at the same steps, takes the best over the whole plan,
# and refines for a fixed length after learned widths.
METHOD = 2
# XTC's public training script (DeepSpeedExamples, compression/bert/run_glue_no_trainer.py L440-465 and its configs):
# AdamW with transformers' former epsilon, decoupled decay of everything but biases and LayerNorm, global clipping.
WEIGHT_DECAY, ADAM_EPSILON, MAX_GRAD_NORM = 0.01, 1e-6, 1.0
# XTC, Appendix B.1: linear decay after a warm-up of 10% of the training time.
WARMUP = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a plan is trained.

    Attributes:
        learning_rate: peak rate of a stage whose factor is 1.
        batch_size: examples a step.
        seed: of dropout and of the batches; stage ``i`` uses ``seed + i``.
        evaluations: evenly spaced evaluations over the whole plan, whatever its stages.
        epoch_steps: optimizer steps of one pass as the plan counts it; those of the training set if left out. A student
            with added sentences is trained as long as one without.
        compute: number format of matrix products, see ``xtcq.training.number_format``; all that is stored stays
            float32.
        adaqat: how the stage that explores learns bit-widths.
        side_by_side: runs that share the machine, and so its memory for a teacher's remembered outputs.

    Raises:
        ValueError: a number is not positive, or the format is unknown.
    """

    learning_rate: float
    batch_size: int
    seed: int
    evaluations: int = 10
    epoch_steps: int | None = None
    compute: str = "fp32"
    adaqat: AdaQATSettings | None = None
    side_by_side: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        check_positive("learning_rate", self.learning_rate)
        check_integer("seed", self.seed, 0)
        for name in ("batch_size", "evaluations", "side_by_side"):
            check_integer(name, getattr(self, name), 1)
        if self.epoch_steps is not None:
            check_integer("epoch_steps", self.epoch_steps, 1)
        check_choice("compute", self.compute, FORMATS)


def stage_steps(stages: Sequence[Stage], epoch_steps: int) -> list[int]:
    """Optimizer steps of every stage, at least one each, of a plan whose passes take ``epoch_steps``.

    The ends of stages are rounded to steps, not their lengths: plans of equal length have equally many steps, however
    many stages share them.

    Raises:
        ValueError: the plan is so short that a stage has no step.
    """
    ends, passed = [0], 0.0
    for stage in stages:
        passed += stage.epochs
        ends.append(round(passed * epoch_steps))
    lengths = [end - begin for begin, end in zip(ends, ends[1:], strict=False)]
    if min(lengths) < 1:
        raise ValueError(
            f"{passed:g} passes of {epoch_steps} steps give the {len(stages)} stages {lengths} steps, and each needs "
            "one: train longer, or in fewer stages"
        )
    return lengths


def evaluation_steps(total: int, evaluations: int) -> list[int]:
    """Steps of a whole plan after which the student is evaluated, from 1: evenly spaced, the last one at the end.

    They know nothing of stages, so that two plans of one length are evaluated equally often and at the same steps, and
    the best of either is a maximum over as many values. A plan of fewer steps has fewer of them.
    """
    return sorted({max(1, round(total * i / evaluations)) for i in range(1, evaluations + 1)})


class _OneDevice(TrainingArguments):
    """Arguments of a training that uses the first GPU, however many there are: its batches are not shared out."""

    @property
    def n_gpu(self) -> int:
        return min(super().n_gpu, 1)


def training_arguments(
    stage: Stage, settings: TrainSettings, steps: int, folder: Path, parts: int, index: int
) -> TrainingArguments:
    """What the Trainer is told of a stage, whose batches go through in so many ``parts``."""
    on_cpu = not torch.cuda.is_available()
    # Finite differences of a search drown in the rounding of bfloat16: of 40 single widths on SST-2, lowered by a bit
    # at the beginning of a search, 26 kept the sign of the difference, whose error was as large as itself.
    compute = "fp32" if stage.explores else settings.compute
    return _OneDevice(
        output_dir=str(folder),
        run_name=stage.name,
        learning_rate=settings.learning_rate * stage.lr_factor,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size // parts,
        gradient_accumulation_steps=parts,
        per_device_eval_batch_size=64,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        adam_epsilon=ADAM_EPSILON,
        max_grad_norm=MAX_GRAD_NORM,
        seed=settings.seed + index,
        bf16=compute == "bf16",
        tf32=None if on_cpu else compute == "tf32",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=10**9,
        # The best and the last one. With a limit of 1 the Trainer deletes the last one before the stage is finished.
        save_total_limit=2,
        greater_is_better=True,
        # Fifty points a stage, however long it is. A ratio would differ from the number in a checkpoint of it.
        logging_steps=math.ceil(steps / 50),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
