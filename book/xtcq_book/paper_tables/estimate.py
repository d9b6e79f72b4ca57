"""What runs cost before anything is downloaded or trained: their number, optimizer steps and hours on a stated card.

The floating-point operations of a forward pass over one token are twice the weights of the encoder's matrices, and
four times length and width a layer for scores and their sums. A step takes three such passes of the student, forward
and backward, one of a teacher where a stage distils, and one more of the student for each width that an exploration
moves in it; an evaluation is one pass over the development set. Teachers and explorations compute in fp32, see
``xtcq.training.number_format``, and so the two number formats have rates of their own.

Every text counts at the task's full length, as the papers pad it, and every teacher's pass, though some are remembered:
that is too much. Quantizers, optimizer and the making of added sentences do not count: that is too little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from xtcq.pretrained import PUBLISHED
from xtcq.study import Experiment, load_record, record_path
from xtcq.study.queue import with_all_needed
from xtcq.training.settings import stage_steps

# 1e12 dense operations a second in bf16 and in fp32, by the maker's data sheets (SXM where there are two).
CARDS = MappingProxyType({"A100": (312.0, 19.5), "H100": (989.0, 67.0), "L40S": (362.0, 91.6), "L4": (121.0, 30.3)})
# Parts of those peaks that matrices of BERT-base's size are taken to reach.
SHARES = (0.3, 0.7)
_MATRICES = 12  # of hidden size squared in a BERT layer: four of attention, two of four times that


@dataclass(frozen=True)
class Estimate:
    """What runs take.

    Attributes:
        runs: teachers and starts included, each once.
        steps: optimizer steps.
        operations: floating-point operations of students.
        fp32_operations: those of teachers and of explorations.
        recorded: runs that have a Record, which are not run again.
        measured_hours: what training those took, on whatever device.
    """

    runs: int
    steps: int
    operations: float
    fp32_operations: float
    recorded: int
    measured_hours: float

    def hours(self, card: str = "A100", shares: tuple[float, float] = SHARES) -> float:
        """Hours on one of ``CARDS``, all runs one after the other: the operations over ``shares`` of its peaks.

        Raises:
            ValueError: an unknown card or an impossible share.
        """
        if card not in CARDS:
            raise ValueError(f"card {card!r} is unknown: use one of {', '.join(CARDS)}, with the shares that fit yours")
        if not all(0 < share <= 1 for share in shares):
            raise ValueError(f"shares are {shares}: give parts of the card's peaks, above 0 and at most 1")
        rates = [1e12 * peak * share for peak, share in zip(CARDS[card], shares, strict=True)]
        return (self.operations / rates[0] + self.fp32_operations / rates[1]) / 3600


def estimate(experiments: Iterable[Experiment]) -> Estimate:
    """Count what some runs take, with the teachers and starts that they need."""
    runs = with_all_needed(experiments)
    operations, fp32_operations = map(sum, zip((0.0, 0.0), *map(training_operations, runs), strict=True))
    records = [load_record(record_path(run)) for run in runs if record_path(run).exists()]
    return Estimate(
        runs=len(runs),
        steps=sum(run.steps for run in runs),
        operations=operations,
        fp32_operations=fp32_operations,
        recorded=len(records),
        measured_hours=sum(record.train_seconds for record in records) / 3600,
    )


def training_operations(experiment: Experiment) -> tuple[float, float]:
    """Operations of a run and its evaluations: of the student outside explorations, and those in fp32."""
    spec, forward = experiment.spec, forward_operations(experiment)
    teacher = forward_operations(experiment.teacher) if experiment.teacher else 0.0
    plan = experiment.plan()
    steps = stage_steps(plan, experiment.spec.epoch_steps)
    fp32 = sum(n * spec.batch_size * teacher for stage, n in zip(plan, steps, strict=True) if stage.distils)
    if experiment.adaqat is not None:
        lowered = 2 if experiment.adaqat.granularity == "network" else 1
        fp32 += steps.pop(0) * spec.batch_size * (3 + lowered) * forward
    evaluated = experiment.evaluations * sum(spec.rows[split] for split in spec.evaluation_splits)
    return forward * (3 * spec.batch_size * sum(steps) + evaluated), fp32


def forward_operations(experiment: Experiment) -> float:
    """Floating-point operations of a forward pass over one text of the task's full length."""
    length = experiment.spec.max_length
    width = PUBLISHED[experiment.model].width
    return float(length * experiment.depth * (2 * _MATRICES * width**2 + 4 * length * width))
