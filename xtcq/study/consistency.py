"""What an experiment's fields must have to do with one another: refused before anything is loaded or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xtcq.pretrained import PUBLISHED
from xtcq.tasks import QuestionSpec

if TYPE_CHECKING:
    from xtcq.study.experiment import Experiment


def check(experiment: Experiment) -> None:
    """Hold the fields of an experiment, each of which is valid by itself, against each other.

    Raises:
        ValueError: naming the two fields that contradict each other, and what to change.
    """
    if experiment.augmentation != "none" and isinstance(experiment.spec, QuestionSpec):
        raise ValueError(
            f"augmentation {experiment.augmentation!r} replaces words, and task {experiment.task!r} asks for words of "
            "its texts: leave augmentation out."
        )
    _check_adaqat(experiment)
    _check_allocation(experiment)
    _check_teacher(experiment)
    _check_start(experiment)


def _check_adaqat(experiment: Experiment) -> None:
    if experiment.adaqat is None:
        return
    if experiment.recipe != "adaqat":
        raise ValueError(
            f"recipe {experiment.recipe!r} learns no bit-widths: use recipe 'adaqat', or leave adaqat out."
        )
    least, most, precision = experiment.adaqat.least, experiment.adaqat.most, experiment.quantization.precision
    if not all(least <= bits <= most for bits in (precision.weights, precision.activations)):
        raise ValueError(
            f"precision {experiment.precision!r} starts with weights of {precision.weights} and activations of "
            f"{precision.activations} bits, and widths shall be from {least} to {most}: start within that range, "
            "or widen it."
        )


def _check_allocation(experiment: Experiment) -> None:
    if experiment.allocation is None:
        return
    if experiment.adaqat is not None:
        raise ValueError("adaqat and allocation both give the matrices their widths: leave one of them out.")
    if experiment.recipe != "adaqat":
        raise ValueError(f"recipe {experiment.recipe!r} has one width for all matrices: an allocation needs 'adaqat'.")
    if not isinstance(experiment.allocation, dict) or not experiment.allocation:
        raise ValueError(
            f"allocation is {experiment.allocation!r}: give a dict from matrix to (bits of its weights, bits of its "
            "inputs), as get_widths(model) returns it, or None."
        )
    if unknown := sorted(set(experiment.allocation) - set(experiment.matrices)):
        raise ValueError(
            f"allocation names {unknown[0]!r}, and the matrices of this student are {', '.join(experiment.matrices)}."
        )
    for name, pair in experiment.allocation.items():
        if (
            not isinstance(pair, tuple | list)
            or len(pair) != 2
            or not all(type(bits) is int and 1 <= bits <= 8 for bits in pair)
        ):
            raise ValueError(f"allocation gives {name} {pair!r}: expected two integers from 1 to 8.")


def _check_teacher(experiment: Experiment) -> None:
    distils = any(stage.distils for stage in experiment.plan())
    if distils and experiment.teacher is None:
        raise ValueError(f"the plan {experiment.stages!r} distils: give the experiment that trains its teacher.")
    teacher = experiment.teacher
    if teacher is None:
        return
    if teacher.task != experiment.task:
        raise ValueError(
            f"the teacher's task is {teacher.task!r} and the student's {experiment.task!r}: give both one task."
        )
    if experiment.cut_from_teacher and teacher.quantized:
        raise ValueError(
            f"the teacher «{teacher}» is quantized, and its student would begin with its weights: give a "
            "full-precision teacher, or name that run as start."
        )
    compared = {term for stage in experiment.plan() if stage.distils for term in stage.terms}
    ours, theirs = (PUBLISHED[one.model].width for one in (experiment, teacher))
    if "hidden" in compared and ours != theirs:
        raise ValueError(
            f"hidden states of {experiment.model!r} have {ours} values and those of the teacher's {teacher.model!r} "
            f"{theirs}, and the plan {experiment.stages!r} compares them one by one: use encoders of one width."
        )
    if teacher.model != experiment.model and experiment.layers is not None:
        raise ValueError(
            f"layers={list(experiment.layers)} are cut out of the teacher, whose encoder is {teacher.model!r} and "
            f"the student's {experiment.model!r}: leave layers out, or use one encoder."
        )


def _check_start(experiment: Experiment) -> None:
    start = experiment.start
    if start is None:
        return
    for name in ("task", "model", "kept"):
        ours, theirs = getattr(experiment, name), getattr(start, name)
        if ours != theirs:
            raise ValueError(
                f"start has {name}={theirs!r} and this experiment {ours!r}: a student can only begin with the "
                "weights of a run of the same task, encoder and layers."
            )
    if start.quantized and start.recipe != experiment.recipe:
        raise ValueError(
            f"start was quantized by recipe {start.recipe!r} and this experiment asks for {experiment.recipe!r}: begin "
            "with a full-precision run, or keep the recipe."
        )
    if start.lora_rank not in (0, experiment.lora_rank):
        raise ValueError(
            f"start has LoRA of rank {start.lora_rank} and this experiment of rank {experiment.lora_rank}: its "
            "low-rank terms would be lost. Keep the rank, or begin with a run without LoRA."
        )
    if start.quantization.splits:
        raise ValueError(
            f"start has matrices that recipe {start.recipe!r} split in two, which cannot be joined again: begin "
            "with the run that it was split from."
        )
