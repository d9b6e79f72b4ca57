"""What tells the runs of a chapter apart, in a reader's words: keys of its tables, axes and lines of its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xtcq.distillation import SELECTIONS, select_layers
from xtcq.encoder import encoder_depth
from xtcq.quantization import LAYER_LINEARS, Precision
from xtcq.study.experiment import Experiment
from xtcq.tasks import task_spec

Label = Callable[[Experiment], Any]
Labels = Mapping[str, Label]
# The matrices of an encoder layer, by their path in it.
MATRICES = dict(
    zip(LAYER_LINEARS, ("query", "key", "value", "attention output", "intermediate", "output"), strict=True)
)


def task(experiment: Experiment) -> str:
    """Name of the task as the papers print it."""
    return task_spec(experiment.task).title


def layers(experiment: Experiment) -> str:
    """Depth of the student and how its layers were chosen: ``"all 6"``, ``"skip 3"``, ``"top 3"``, ``"bottom 3"``."""
    depth, kept = encoder_depth(experiment.model), experiment.kept
    if kept is None or len(kept) == depth:
        return f"all {depth}"
    for selection in SELECTIONS:
        if kept == select_layers(selection, depth, len(kept)):
            return f"{selection} {len(kept)}"
    return f"layers {', '.join(map(str, kept))}"


def bits(experiment: Experiment) -> int:
    """Bits of a weight; 2 means ternary in XTC's recipe."""
    return Precision.parse(experiment.precision).weights


def width(experiment: Experiment) -> str:
    """Bits of a weight as an adjective: ``"1-bit"``."""
    return f"{bits(experiment)}-bit"


def precision(experiment: Experiment) -> str:
    """W-E-A notation."""
    return experiment.precision


def linears(experiment: Experiment) -> str:
    """Bits of weights and activations of the linear layers: ``"2-4"``, W-A of AdaQAT-BERT Table 5."""
    precision = Precision.parse(experiment.precision)
    return f"{precision.weights}-{precision.activations}"


def tables(experiment: Experiment) -> str:
    """Bits of the token, segment and position tables: ``"4-32-4"``, T-K-P of AdaQAT-BERT Table 5."""
    return "-".join(map(str, Precision.parse(experiment.precision).embeddings))


def widths(experiment: Experiment) -> str:
    """Where bit-widths come from, see ``Experiment.width_source``; uniform ones with their bits: ``"uniform 2-4"``."""
    return f"uniform {linears(experiment)}" if experiment.width_source == "uniform" else experiment.width_source


def search(experiment: Experiment) -> str:
    """What a search for bit-widths does otherwise than AdaQAT-BERT says; ``"paper"`` for nothing."""
    settings = experiment.adaqat
    changed = [f"{settings.order} order"] * (settings.order != "paper") + ["unpaired"] * (not settings.paired)
    return ", ".join(changed) or "paper"


def distilled(experiment: Experiment) -> str:
    """What the refinement learns from: ``"distillation"`` or ``"labels"``."""
    return "distillation" if any(stage.distils for stage in experiment.plan()) else "labels"


def plan(experiment: Experiment) -> str:
    """Name of the plan of stages."""
    return experiment.stages


def rate(experiment: Experiment) -> float:
    """Peak learning rate of a stage whose factor is 1."""
    return experiment.learning_rate


def rank(experiment: Experiment) -> int:
    """Rank of the low-rank terms, 0 for none."""
    return experiment.lora_rank


def begun(experiment: Experiment) -> str:
    """Bits of the run whose weights the student began with; ``"teacher"`` for its teacher's weights."""
    if experiment.start is not None:
        return width(experiment.start)
    return "teacher" if experiment.cut_from_teacher else "pre-trained"


def teacher(experiment: Experiment) -> str:
    """Layers of the teacher."""
    return layers(experiment.teacher)


def augmentation(experiment: Experiment) -> str:
    """Where added sentences come from, or ``"none"``."""
    return experiment.augmentation


def joined(*labels: Label) -> Label:
    """One label from several, for an axis that shows two things."""
    return lambda experiment: ", ".join(as_text(label(experiment)) for label in labels)


def as_text(value: Any) -> str:
    """A label's value for a reader; a learning rate as the papers print it: 2e-5 rather than 2e-05."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
