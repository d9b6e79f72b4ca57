"""An experiment is a value: everything that decides the result of one training run, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from xtcq.adaqat import AdaQATSettings
from xtcq.distillation import PLANS, Stage, check_layers, explore_then_refine
from xtcq.encoder import encoder_depth, encoder_width, model_names
from xtcq.quantization import LAYER_LINEARS, Precision, QuantConfig
from xtcq.study import budgets
from xtcq.tasks import QuestionSpec, task_spec
from xtcq.tasks.augmentation import SOURCES
from xtcq.training.settings import (
    ADAM_EPSILON,
    MAX_GRAD_NORM,
    METHOD,
    WARMUP,
    WEIGHT_DECAY,
    stage_steps,
)

AUGMENTATIONS = ("none", *SOURCES)
# What a reader calls the widths that AdaQAT learns, by granularity.
_LEARNED = {"layer": "learned", "kind": "learned by kind", "block": "learned by block", "network": "learned for all"}
WIDTH_SOURCES = ("uniform", *_LEARNED.values(), "allocated")
# Fields that may be given as dicts, as they stand in a Record.
_NESTED = {
    "teacher": lambda: Experiment,
    "start": lambda: Experiment,
    "adaqat": lambda: AdaQATSettings,
}


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
        augmentation: where the words of added training sentences come from: ``"none"`` adds nothing,
            ``"neighbours"`` and ``"masked-lm"`` are explained at ``xtcq.tasks.load_augmented_task``. ``epochs`` keeps
            its meaning, so a student sees as many batches with augmentation as without.
        evaluations: evaluations over the whole plan. More of them find a higher best score.
        adaqat: learn bit-widths in the first part of the training, and keep them in the second, which is the plan
            ``stages``. ``precision`` gives the widths to start from, and the recipe is ``"adaqat"``.
        allocation: bits of the weights and of the inputs of matrices, by name, which somebody chose before this
            training; the recipe is ``"adaqat"``. What it does not name has the widths of ``precision``.

    A dict of fields in place of a teacher, a start or settings is turned into them.

    Raises:
        ValueError: for an unknown name or an impossible value; the message names it and what is possible.
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
        """Validate; the precision is stored in its canonical spelling."""
        task_spec(self.task)
        for name, of in _NESTED.items():
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, of().from_dict(value))
            elif value is not None and not isinstance(value, of()):
                raise ValueError(f"{name} is {value!r}: give {of().__name__}(...), a dict of its fields, or None.")
        if self.model not in model_names():
            raise ValueError(f"model {self.model!r} is unknown: use one of {', '.join(model_names())}.")
        if self.stages not in PLANS:
            raise ValueError(f"plan of stages {self.stages!r} is unknown: use one of {', '.join(PLANS)}.")
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name}={value!r} must be a positive number.")
            object.__setattr__(self, name, float(value))
        for name, least in (("seed", 0), ("evaluations", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r} must be an integer of at least {least}.")
        object.__setattr__(self, "precision", str(self.quantization.precision))
        if self.layers is not None:
            object.__setattr__(self, "layers", check_layers(self.layers, self._teacher_depth()))
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation {self.augmentation!r} is unknown: use one of {', '.join(AUGMENTATIONS)}.")
        if self.augmentation != "none" and isinstance(task_spec(self.task), QuestionSpec):
            raise ValueError(
                f"augmentation {self.augmentation!r} replaces words, and task {self.task!r} asks for words of its "
                "texts: leave augmentation out."
            )
        self._check_adaqat()
        self._check_allocation()
        self._check_teacher()
        self._check_start()

    def _check_adaqat(self) -> None:
        if self.adaqat is None:
            return
        if self.recipe != "adaqat":
            raise ValueError(f"recipe {self.recipe!r} learns no bit-widths: use recipe 'adaqat', or leave adaqat out.")
        least, most, precision = self.adaqat.least, self.adaqat.most, self.quantization.precision
        if not all(least <= bits <= most for bits in (precision.weights, precision.activations)):
            raise ValueError(
                f"precision {self.precision!r} starts with weights of {precision.weights} and activations of "
                f"{precision.activations} bits, and widths shall be from {least} to {most}: start within that range, "
                "or widen it."
            )

    def _check_allocation(self) -> None:
        if self.allocation is None:
            return
        if self.adaqat is not None:
            raise ValueError("adaqat and allocation both give the matrices their widths: leave one of them out.")
        if self.recipe != "adaqat":
            raise ValueError(f"recipe {self.recipe!r} has one width for all matrices: an allocation needs 'adaqat'.")
        if not isinstance(self.allocation, dict) or not self.allocation:
            raise ValueError(
                f"allocation is {self.allocation!r}: give a dict from matrix to (bits of its weights, bits of its "
                "inputs), as get_widths(model) returns it, or None."
            )
        if unknown := sorted(set(self.allocation) - set(self.matrices)):
            raise ValueError(
                f"allocation names {unknown[0]!r}, and the matrices of this student are {', '.join(self.matrices)}."
            )
        for name, pair in self.allocation.items():
            if len(pair) != 2 or not all(type(bits) is int and 1 <= bits <= 8 for bits in pair):
                raise ValueError(f"allocation gives {name} {pair!r}: expected two integers from 1 to 8.")
        object.__setattr__(self, "allocation", {name: tuple(pair) for name, pair in self.allocation.items()})

    def _check_teacher(self) -> None:
        distils = any(stage.distils for stage in self.plan())
        if distils and self.teacher is None:
            raise ValueError(f"the plan {self.stages!r} distils: give the experiment that trains its teacher.")
        if self.teacher is None:
            return
        if self.teacher.task != self.task:
            raise ValueError(
                f"the teacher's task is {self.teacher.task!r} and the student's {self.task!r}: give both one task."
            )
        if self.cut_from_teacher and self.teacher.quantized:
            raise ValueError(
                f"the teacher «{self.teacher}» is quantized, and its student would begin with its weights: give a "
                "full-precision teacher, or name that run as start."
            )
        compared = {term for stage in self.plan() if stage.distils for term in stage.terms}
        ours, theirs = encoder_width(self.model), encoder_width(self.teacher.model)
        if "hidden" in compared and ours != theirs:
            raise ValueError(
                f"hidden states of {self.model!r} have {ours} values and those of the teacher's {self.teacher.model!r} "
                f"{theirs}, and the plan {self.stages!r} compares them one by one: use encoders of one width."
            )
        if self.teacher.model != self.model and self.layers is not None:
            raise ValueError(
                f"layers={list(self.layers)} are cut out of the teacher, whose encoder is {self.teacher.model!r} and "
                f"the student's {self.model!r}: leave layers out, or use one encoder."
            )

    def _check_start(self) -> None:
        start = self.start
        if start is None:
            return
        for name in ("task", "model", "kept"):
            ours, theirs = getattr(self, name), getattr(start, name)
            if ours != theirs:
                raise ValueError(
                    f"start has {name}={theirs!r} and this experiment {ours!r}: a student can only begin with the "
                    "weights of a run of the same task, encoder and layers."
                )
        if start.quantized and start.recipe != self.recipe:
            raise ValueError(
                f"start was quantized by recipe {start.recipe!r} and this experiment asks for {self.recipe!r}: begin "
                "with a full-precision run, or keep the recipe."
            )
        if start.lora_rank not in (0, self.lora_rank):
            raise ValueError(
                f"start has LoRA of rank {start.lora_rank} and this experiment of rank {self.lora_rank}: its low-rank "
                "terms would be lost. Keep the rank, or begin with a run without LoRA."
            )
        if start.quantization.splits:
            raise ValueError(
                f"start has matrices that recipe {start.recipe!r} split in two, which cannot be joined again: begin "
                "with the run that it was split from."
            )

    def _teacher_depth(self) -> int:
        kept = self.teacher.kept if self.cut_from_teacher else None
        return encoder_depth(self.model) if kept is None else len(kept)

    @property
    def cut_from_teacher(self) -> bool:
        """Whether the student's architecture is its teacher's: it starts from other weights if the encoders differ."""
        return self.teacher is not None and self.teacher.model == self.model

    @property
    def kept(self) -> tuple[int, ...] | None:
        """0-based layers of the pre-trained encoder that the student has; None for all of them."""
        below = self.teacher.kept if self.cut_from_teacher else None
        if self.layers is None or below is None:
            return below if self.layers is None else self.layers
        return tuple(below[layer] for layer in self.layers)

    @property
    def matrices(self) -> dict[str, int]:
        """Numbers of weights of the student's linear layers by name, known without building it."""
        depth = encoder_depth(self.model) if self.kept is None else len(self.kept)
        shares = dict(zip(LAYER_LINEARS, (1, 1, 1, 1, 4, 4), strict=True))
        sizes = {f"bert.encoder.layer.{i}.{name}": share for i in range(depth) for name, share in shares.items()}
        if task_spec(self.task).head != "questions":  # such a model has no pooler
            sizes["bert.pooler.dense"] = 1
        return {name: share * encoder_width(self.model) ** 2 for name, share in sizes.items()}

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
        return Precision.parse(self.precision) != Precision.parse("32-32-32")

    def plan(self) -> list[Stage]:
        """The stages that this experiment trains through."""
        plan = PLANS[self.stages]
        return plan(self.epochs) if self.adaqat is None else explore_then_refine(plan, self.epochs, self.adaqat.share)

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of one pass over the training set without added sentences."""
        return task_spec(self.task).epoch_steps

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return sum(stage_steps(self.plan(), self.epoch_steps))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields, those at their default too: a default that changes later changes what is new, not this."""
        result = dataclasses.asdict(self)
        for name in ("teacher", "start"):
            nested = getattr(self, name)
            result[name] = nested and nested.to_dict()
        return json.loads(json.dumps(result))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Experiment:
        """Build an experiment from parsed JSON.

        Args:
            fields: as ``to_dict`` gives them; ``teacher``, ``start`` and ``adaqat`` may be nested.

        Returns:
            The experiment.

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
        if isinstance(fields.get("layers"), list):
            fields = fields | {"layers": tuple(fields["layers"])}
        return cls(**fields)

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides the result: of the task and of training. The number format of the computation does not."""
        spec = task_spec(self.task)
        return {
            "batch_size": spec.batch_size,
            "max_length": spec.max_length,
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
            weights, inputs = (sum(side) / len(side) for side in zip(*self.allocation.values(), strict=True))
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
    """Name of a run by everything that decides its result.

    Args:
        fields: as ``Experiment.to_dict`` gives them.
        settings: as ``Experiment.settings``.
        method: ``xtcq.training.settings.METHOD`` of the code that ran it.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of their canonical JSON.
    """
    content = {"experiment": fields, "settings": settings, "method": method}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
