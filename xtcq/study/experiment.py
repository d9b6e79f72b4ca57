"""An experiment is a value: everything that decides the result of one training run, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from xtcq.distillation import PLANS, Stage
from xtcq.encoder import model_names
from xtcq.quantization import Precision, QuantConfig
from xtcq.tasks import task_spec


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
        layers: teacher layers that the student keeps; None keeps all.
        teacher: the experiment whose student teaches this one and gives it its initial weights.
        evaluations: evaluations over the whole plan. More of them find a higher best score.

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

    def __post_init__(self) -> None:
        """Validate; the precision is stored in its canonical spelling."""
        task_spec(self.task)
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
            object.__setattr__(self, "layers", tuple(self.layers))
        self._check_teacher()

    def _check_teacher(self) -> None:
        distils = any(stage.distils for stage in self.plan())
        if distils and self.teacher is None:
            raise ValueError(f"the plan {self.stages!r} distils: give the experiment that trains its teacher.")
        if self.teacher is None:
            return
        for name in ("task", "model"):
            if getattr(self.teacher, name) != getattr(self, name):
                raise ValueError(
                    f"the teacher's {name} is {getattr(self.teacher, name)!r} and the student's "
                    f"{getattr(self, name)!r}: a student starts from its teacher's weights, so both must be the same."
                )

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
        return PLANS[self.stages](self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; those at their default are left out, so that a field added later changes no digest."""
        result = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                result[field.name] = value.to_dict() if isinstance(value, Experiment) else value
        return result

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Experiment:
        """Build an experiment from parsed JSON.

        Args:
            fields: as ``to_dict`` gives them; ``teacher`` may be nested.

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
        fields = dict(fields)
        if isinstance(fields.get("teacher"), dict):
            fields["teacher"] = cls.from_dict(fields["teacher"])
        return cls(**fields)

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """A short label for progress lines: task, precision, plan, length, learning rate, seed."""
        plan = f"{self.stages} {self.epochs:g} epochs"
        return f"{self.task} {self.precision} {plan} lr {self.learning_rate:g} seed {self.seed}"
