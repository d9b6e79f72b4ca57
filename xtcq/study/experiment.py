"""An experiment is a value: everything that decides the result of one training run, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from xtcq.adaqat import AdaQATSettings
from xtcq.checks import check_choice, check_integer, check_positive
from xtcq.distillation import PLANS, LayerMap, Stage, check_layers, explore_then_refine
from xtcq.pretrained import PUBLISHED
from xtcq.quantization import LAYER_LINEARS, Precision, QuantConfig
from xtcq.study import budgets, consistency
from xtcq.tasks import TaskSpec, task_spec
from xtcq.tasks.augmentation import SOURCES
from xtcq.training.settings import ADAM_EPSILON, MAX_GRAD_NORM, METHOD, WARMUP, WEIGHT_DECAY, stage_steps

AUGMENTATIONS = ("none", *SOURCES)
# What a reader calls the widths that AdaQAT learns, by granularity.
_LEARNED = {"layer": "learned", "kind": "learned by kind", "block": "learned by block", "network": "learned for all"}
WIDTH_SOURCES = ("uniform", *_LEARNED.values(), "allocated")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run, named by the digest of its canonical JSON.

    Attributes:
        task: name of a task, for example ``"mrpc"``.
        epochs: length of the whole plan in passes over the training set.
        learning_rate: peak learning rate of a stage whose factor is 1.
        model: name of the pre-trained encoder.
        seed: of the classifier, dropout and batches.
        precision: W-E-A notation of the papers; ``"32-32-32"`` is full precision.
        recipe: what is quantized and how; see ``QuantConfig``.
        lora_rank: rank of the full-precision term beside each quantized matrix; 0 for none.
        stages: name of a training plan.
        layers: teacher layers that the student keeps, 0-based; None keeps all.
        teacher: the experiment whose student teaches this one. It also gives it its initial weights, unless its encoder
            is another one: then the student starts from its own pre-trained weights.
        start: the experiment whose trained weights this student begins with, instead of its teacher's. It may be less
            quantized or of another precision; it must have the same layers.
        augmentation: where the words of added training sentences come from: ``"none"`` adds nothing, the others are
            explained at ``xtcq.tasks.load_augmented_task``. ``epochs`` keeps its meaning, so a student sees as many
            batches with augmentation as without.
        evaluations: evaluations over the whole plan. More of them find a higher best score.
        adaqat: learn bit-widths in the first part of the training, and keep them in the second, which is the plan
            ``stages``. ``precision`` gives the widths to start from, and the recipe is ``"adaqat"``.
        allocation: bits of the weights and of the inputs of matrices, by name, which somebody chose before this
            training; the recipe is ``"adaqat"``. What it does not name has the widths of ``precision``.

    A dict of fields in place of a teacher, a start or settings is turned into them.

    Raises:
        ValueError: for an unknown name or an impossible value; the message names it and what is possible.

    >>> from xtcq import Experiment
    >>> teacher = Experiment(task="mrpc", epochs=3, learning_rate=5e-5)
    >>> Experiment(
    ...     task="mrpc", epochs=18, learning_rate=1e-4, precision="1-1-8", stages="two-stage", teacher=teacher
    ... ).teacher.precision
    '32-32-32'
    """

    task: str
    epochs: float
    learning_rate: float
    model: str = "minilm-l6"
    seed: int = 42
    precision: str = "32-32-32"
    recipe: str = "xtc"
    lora_rank: int = 0
    stages: str = "finetune"
    layers: tuple[int, ...] | None = None
    teacher: Experiment | None = None
    evaluations: int = 10
    start: Experiment | None = None
    augmentation: str = "none"
    adaqat: AdaQATSettings | None = None
    allocation: dict[str, tuple[int, int]] | None = dataclasses.field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Validate; the precision is stored in its canonical spelling, numbers as floats, lists as tuples."""
        task_spec(self.task)
        nested: dict[str, Any] = {"teacher": Experiment, "start": Experiment, "adaqat": AdaQATSettings}
        for name, of in nested.items():
            value = getattr(self, name)
            if isinstance(value, dict):
                self._set(name, of.from_dict(value))
            elif value is not None and not isinstance(value, of):
                raise ValueError(f"{name} is {value!r}: give {of.__name__}(...), a dict of its fields, or None.")
        check_choice("model", self.model, PUBLISHED)
        check_choice("stages", self.stages, tuple(PLANS))
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        for name in ("epochs", "learning_rate"):
            self._set(name, check_positive(name, getattr(self, name)))
        check_integer("seed", self.seed, 0)
        check_integer("evaluations", self.evaluations, 1)
        self._set("precision", str(self.quantization.precision))
        if self.layers is not None:
            above = range(PUBLISHED[self.model].layers) if self._above is None else self._above
            self._set("layers", check_layers(self.layers, len(above)))
        consistency.check(self)
        if self.allocation is not None:
            self._set("allocation", {name: tuple(pair) for name, pair in self.allocation.items()})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def spec(self) -> TaskSpec:
        """The facts of its task."""
        return task_spec(self.task)

    @property
    def cut_from_teacher(self) -> bool:
        """Whether the student's architecture is its teacher's: it starts from other weights if the encoders differ."""
        return self.teacher is not None and self.teacher.model == self.model

    @property
    def kept(self) -> tuple[int, ...] | None:
        """0-based layers of the pre-trained encoder that the student has; None for all of them."""
        above = self._above
        if self.layers is None or above is None:
            return above if self.layers is None else self.layers
        return tuple(above[layer] for layer in self.layers)

    @property
    def _above(self) -> tuple[int, ...] | None:
        """What is `kept` of the teacher that this student is cut from; None for all layers, or another encoder."""
        return self.teacher.kept if self.teacher is not None and self.cut_from_teacher else None

    @property
    def depth(self) -> int:
        """Layers of the student's encoder."""
        return PUBLISHED[self.model].layers if self.kept is None else len(self.kept)

    @property
    def layer_map(self) -> LayerMap | None:
        """The pairs of layers that are compared where the student has some of its teacher's; None for all, evenly."""
        return LayerMap.kept(self.layers) if self.layers else None

    @property
    def matrices(self) -> dict[str, int]:
        """Numbers of weights of the student's linear layers by name, known without building it."""
        shares = dict(zip(LAYER_LINEARS, (1, 1, 1, 1, 4, 4), strict=True))
        sizes = {f"bert.encoder.layer.{i}.{name}": share for i in range(self.depth) for name, share in shares.items()}
        if self.spec.head != "questions":  # such a model has no pooler
            sizes["bert.pooler.dense"] = 1
        return {name: share * PUBLISHED[self.model].width ** 2 for name, share in sizes.items()}

    @property
    def width_source(self) -> str:
        """Where bit-widths come from, one of ``WIDTH_SOURCES``; what AdaQAT learns is told apart by granularity."""
        if self.adaqat is not None:
            return _LEARNED[self.adaqat.granularity]
        return "uniform" if self.allocation is None else "allocated"

    @property
    def budget(self) -> str | None:
        """Name of XTC's budget that this length is, see ``xtcq.study.budgets``; None for another length."""
        return budgets.name_of(self.task, self.epochs)

    @property
    def quantization(self) -> QuantConfig:
        """Precision, recipe and LoRA rank as the quantization package wants them."""
        return QuantConfig(precision=Precision.parse(self.precision), recipe=self.recipe, lora_rank=self.lora_rank)

    @property
    def quantized(self) -> bool:
        """Whether anything at all has fewer than 32 bits."""
        return self.precision != "32-32-32"

    def plan(self) -> list[Stage]:
        """The stages that this experiment trains through."""
        plan = PLANS[self.stages]
        return plan(self.epochs) if self.adaqat is None else explore_then_refine(plan, self.epochs, self.adaqat.share)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return sum(stage_steps(self.plan(), self.spec.epoch_steps))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields, those at their default too: a default that changes later changes what is new, not this."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Experiment:
        """Invert ``to_dict``; fields at their default may be left out.

        Raises:
            ValueError: for an unknown or missing field, besides what the values themselves raise.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        if not isinstance(fields, dict) or set(fields) - known or required - set(fields):
            given = sorted(fields) if isinstance(fields, dict) else fields
            raise ValueError(
                f"an experiment has the fields {sorted(known)}, of which {sorted(required)} are needed; got {given}."
            )
        return cls(**fields)

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides the result: of the task and of training. The number format of the computation does not."""
        return {
            "batch_size": self.spec.batch_size,
            "max_length": self.spec.max_length,
            "weight_decay": WEIGHT_DECAY,
            "warmup": WARMUP,
            "max_grad_norm": MAX_GRAD_NORM,
            "adam_epsilon": ADAM_EPSILON,
        }

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of fields, settings and the number of the method."""
        return _digest(self, tuple(self.settings.items()), METHOD)

    def __str__(self) -> str:
        """A short label for progress lines: what differs from run to run of a chapter."""
        parts = [self.task, self.precision]
        if self.recipe != "xtc":
            parts.append(self.recipe)
        if self.kept is not None:
            parts.append(f"layers {','.join(map(str, self.kept))}")
        if self.adaqat is not None:
            changed = "".join(f" {name}={value}" for name, value in self.adaqat.to_dict().items())
            parts.append(f"learned widths{changed}")
        if self.lora_rank:
            parts.append(f"LoRA {self.lora_rank}")
        if self.start is not None:
            parts.append(f"from {self.start.precision} ({self.start.digest})")
        if self.augmentation != "none":
            parts.append(f"augmented by {self.augmentation}")
        if self.allocation is not None:
            precision = self.quantization.precision
            pairs = dict.fromkeys(self.matrices, (precision.weights, precision.activations)) | self.allocation
            weights, inputs = (sum(side) / len(side) for side in zip(*pairs.values(), strict=True))
            parts.append(f"allocated {weights:.2f}-{inputs:.2f} bits on average")
        if self.teacher is not None and self.teacher.kept is not None:
            parts.append("small teacher")
        parts.append(f"{self.stages} {self.epochs:g} epochs lr {self.learning_rate:g} seed {self.seed}")
        return " ".join(parts)


@cache
def _digest(experiment: Experiment, settings: tuple[tuple[str, Any], ...], method: int) -> str:
    """`identity`, computed once: a study asks for those of a thousand runs before every start."""
    return identity(experiment.to_dict(), dict(settings), method)


def identity(fields: dict[str, Any], settings: dict[str, Any], method: int) -> str:
    """Name of a run by everything that decides its result: 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    Args:
        fields: as ``Experiment.to_dict`` gives them.
        settings: as ``Experiment.settings``.
        method: ``xtcq.training.settings.METHOD`` of the code that ran it.
    """
    content = {"experiment": fields, "settings": settings, "method": method}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
