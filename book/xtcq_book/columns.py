"""What tells the runs of a chapter apart, in a reader's words: columns of its tables, axes and lines of its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xtcq.distillation import SELECTIONS, select_layers
from xtcq.pretrained import PUBLISHED
from xtcq.quantization import LAYER_LINEARS
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record

# The matrices of an encoder layer, by their path in it.
MATRICES = dict(
    zip(LAYER_LINEARS, ("query", "key", "value", "attention output", "intermediate", "output"), strict=True)
)
# Pre-trained encoders, as their authors write them.
ENCODERS = {"minilm-l6": "MiniLM-L6", "bert-base": "BERT-base", "bert-base-uncased": "BERT-base"}


def task(experiment: Experiment) -> str:
    """Name of the task as the papers print it."""
    return experiment.spec.title


def layers(experiment: Experiment) -> str:
    """Depth of the student and how its layers were chosen: ``"all 6"``, ``"skip 3"``, ``"top 3"``, ``"bottom 3"``."""
    depth, kept = PUBLISHED[experiment.model].layers, experiment.kept
    if kept is None or len(kept) == depth:
        return f"all {depth}"
    for selection in SELECTIONS:
        if kept == select_layers(selection, depth, len(kept)):
            return f"{selection} {len(kept)}"
    return f"layers {', '.join(map(str, kept))}"


def linears(experiment: Experiment) -> str:
    """Bits of weights and activations of the linear layers: ``"2-4"``, W-A of AdaQAT-BERT Table 5."""
    precision = experiment.quantization.precision
    return f"{precision.weights}-{precision.activations}"


def tables(experiment: Experiment) -> str:
    """Bits of the token, segment and position tables: ``"4-32-4"``, T-K-P of AdaQAT-BERT Table 5."""
    return "-".join(map(str, experiment.quantization.precision.embeddings))


def widths(experiment: Experiment) -> str:
    """Where bit-widths come from, see ``Experiment.width_source``; uniform ones with their bits: ``"uniform 2-4"``."""
    return f"uniform {linears(experiment)}" if experiment.width_source == "uniform" else experiment.width_source


def exploration(experiment: Experiment) -> str:
    """What learning bit-widths does otherwise than AdaQAT-BERT says; ``"paper"`` for nothing, and where none learns."""
    settings = experiment.adaqat
    if settings is None:
        return "paper"
    changed = [f"{settings.order} order"] * (settings.order != "paper") + ["unpaired"] * (not settings.paired)
    return ", ".join(changed) or "paper"


def start(experiment: Experiment) -> str:
    """What the student began with: bits of the run that it starts from, ``"teacher"`` or ``"pre-trained"``."""
    if experiment.start is not None:
        return f"{experiment.start.quantization.precision.weights}-bit"
    return "teacher" if experiment.cut_from_teacher else "pre-trained"


def machine(record: Record) -> str:
    """Where a run was trained, with the number format: a step in another one costs another time."""
    return f"{record.device}, {record.compute}".replace(" 1 threads", " 1 thread")


# Columns of ``xtcq_book.frame.to_frame``; 2 bits mean ternary in XTC's recipe.
COLUMNS: dict[str, Callable[[Experiment], Any]] = {
    "task": task,
    "encoder": lambda e: e.model,
    "layers": layers,
    "recipe": lambda e: e.recipe,
    "W-E-A": lambda e: e.precision,
    "bits": lambda e: e.quantization.precision.weights,
    "W-A": linears,
    "T-K-P": tables,
    "LoRA rank": lambda e: e.lora_rank,
    "plan": lambda e: e.stages,
    "learning rate": lambda e: e.learning_rate,
    "seed": lambda e: e.seed,
    "epochs": lambda e: e.epochs,
    "planned steps": lambda e: e.steps,  # a search for widths may end before
    "augmentation": lambda e: e.augmentation,
    "teacher": lambda e: layers(e.teacher) if e.teacher else "none",
    "begun with": start,
    "widths": widths,
    "exploration": exploration,
    "learns from": lambda e: "distillation" if any(stage.distils for stage in e.plan()) else "labels",
}


def scale(encoders: Iterable[str], tasks: Iterable[str], steps: Iterable[int], seeds: Iterable[int]) -> str:
    """What some runs are, for the sentence that tells a result: encoders, tasks, optimizer steps, and seeds a task."""
    shown = sorted({ENCODERS.get(name, name) for name in encoders})
    parts = [", ".join(shown), ", ".join(dict.fromkeys(tasks)), between(steps, " step"), between(seeds, " seed")]
    return f"{', '.join(parts)} a task"


def between(numbers: Iterable[int], unit: str = "") -> str:
    """The least and the most of some numbers, or the one that they are, with a unit in the singular."""
    low, high = min(found := list(numbers)), max(found)
    return f"{low:,}{f' to {high:,}' if high > low else ''}{unit}{'s' * (high > 1 and unit != '')}"


def as_text(value: Any) -> str:
    """A label's value for a reader; a learning rate as the papers print it: 2e-5 rather than 2e-05."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
