"""Settings of an allocation: which rival, which budget."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from xtcq.allocation.sensitivity import METRICS
from xtcq.allocation.space import check_range
from xtcq.quantization import RESCALING, Precision

# What each method reads, besides method, budget and range.
_READS = {
    "random": ("seed",),
    "sensitivity": ("seed", "metric", "batches", "probes"),
    "fracbits": ("share", "kappa", "steps"),
}
METHODS = tuple(_READS)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """How the widths of a model's layers are chosen, one for the weights and one for the inputs of each.

    Uniform widths need no allocation: they are a precision.

    Attributes:
        method: "random", see `xtcq.allocation.random`; "sensitivity", costs of `sensitivities` minimised by `cheapest`;
            "fracbits", see `FracBits`.
        budget: mean bits squared per weight, see `SearchSpace`.
        least: smallest width, 1 to 8.
        most: largest width, `least` to 8.
        seed: of the random widths, or of the batches and sign vectors of a sensitivity.
        metric: of a sensitivity, "fisher" or "hessian".
        batches: batches of training data that a sensitivity is measured on.
        probes: sign vectors a batch, for the Hessian.
        share: part of the training that FracBits explores, between 0 and 1; it is not added to the training.
        kappa: weight of FracBits' penalty.
        steps: what becomes of LSQ's step sizes while FracBits moves widths, "keep" or "rescale".

    Raises:
        ValueError: naming the field, its value and what was expected; also where a field is set that the method does
            not read, so that two allocations that differ are different ones.
    """

    method: str
    budget: float
    least: int = 2
    most: int = 8
    seed: int = 0
    metric: str = "fisher"
    batches: int = 8
    probes: int = 8
    share: float = 0.5
    kappa: float = 1.0
    steps: str = "rescale"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, choices in (("method", METHODS), ("metric", METRICS), ("steps", RESCALING)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}")
        check_range(self.least, self.most)
        for name in ("budget", "share", "kappa"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}, expected a positive number")
            object.__setattr__(self, name, float(value))
        if self.budget < self.least**2:
            raise ValueError(
                f"budget is {self.budget:g} bits squared per weight, below the {self.least**2} that {self.least} bits "
                "everywhere cost: raise it, or lower least"
            )
        if self.share >= 1:
            raise ValueError(
                f"share is {self.share!r}: exploration cannot be as long as the whole training or longer, since "
                "the chosen widths are trained after it; expected a number between 0 and 1"
            )
        for name, least in (("seed", 0), ("batches", 1), ("probes", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}, expected an integer of at least {least}")
        if self.method == "fracbits" and self.least == self.most:
            raise ValueError(f"least and most are both {self.least}: a search needs two widths")
        self._check_read()

    def _check_read(self) -> None:
        always = ("method", "budget", "least", "most", *_READS[self.method])
        unread = [f.name for f in dataclasses.fields(self) if f.name not in always]
        changed = [f for f in dataclasses.fields(self) if f.name in unread and getattr(self, f.name) != f.default]
        if changed:
            name, value = changed[0].name, getattr(self, changed[0].name)
            raise ValueError(f"{name} is {value!r}, but method {self.method!r} does not read it: leave it out")
        if self.metric != "hessian" and self.probes != type(self).probes:
            raise ValueError(f"probes is {self.probes}, but metric {self.metric!r} does not read it: leave it out")

    def check_precision(self, precision: Precision) -> None:
        """Refuse a precision from which the method cannot begin.

        Raises:
            ValueError: FracBits would begin outside the range; or widths are chosen before training, and the precision
                is not the largest width, so that two precisions would name one run.
        """
        widths = {precision.weights, precision.activations}
        wanted = f"{self.most}-{precision.token}-{self.most}"
        if self.explores and not all(self.least <= bits <= self.most for bits in widths):
            raise ValueError(
                f"precision '{precision}' is where the search begins, and widths shall be from {self.least} to "
                f"{self.most}: begin with {wanted!r}, or change the range."
            )
        if not self.explores and widths != {self.most}:
            raise ValueError(
                f"precision '{precision}' gives weights and activations widths that method {self.method!r} replaces: "
                f"write {wanted!r}, with the largest width of the range."
            )

    @property
    def explores(self) -> bool:
        """Whether widths are learned in training steps, rather than chosen before the first."""
        return self.method == "fracbits"

    def __str__(self) -> str:
        """A short label for progress lines."""
        fields = {name: value for name, value in self.to_dict().items() if name not in ("method", "budget")}
        return " ".join([f"{self.method} {self.budget:g}", *(f"{name}={value}" for name, value in fields.items())])

    def to_dict(self) -> dict[str, Any]:
        """Fields that differ from their defaults, JSON-able."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Invert `to_dict`.

        Raises:
            ValueError: a field that there is not or that is missing, besides what the values themselves raise.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(fields, dict) or set(fields) - set(known) or {"method", "budget"} - set(fields):
            given = sorted(fields) if isinstance(fields, dict) else fields
            raise ValueError(f"an allocation has {known}, of which method and budget are needed; got {given}")
        return cls(**fields)
