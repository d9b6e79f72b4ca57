"""What decides how bit-widths are learned: settings, which layers share widths, and where these start."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from xtcq.adaqat.widths import ACTIVATIONS, PUBLISHED_ETA, ROLES, WEIGHTS, Coordinate, Width, WidthSearch
from xtcq.checks import check_choice, check_integer, check_positive
from xtcq.quantization import RESCALING

# A learning rate above this jumps over the widths that it should try.
MOST_ETA = 1.0
# Bits of the layers that Algorithm 1 holds.
ENDS = 8

# From the finest to the coarsest; a kind and a block of BERT are about equally many.
GRANULARITIES = ("layer", "kind", "block", "network")
_CHOICES = {
    "granularity": GRANULARITIES,
    "order": ("paper", "published"),
    "counts": ("cycles", "crossings"),
    "pressure": ("mean", "bitops"),
    "steps": RESCALING,
}


@dataclass(frozen=True, kw_only=True)
class AdaQATSettings:
    """How AdaQAT-BERT explores; the defaults are the paper's, and the published code's where the paper is silent.

    What the published code does otherwise can be chosen: ``counts="crossings"``, ``order="published"`` and
    ``paired=False``.

    The widths start at those of the model, the fractional ones at whole numbers: a precision of 4-4-4 is the start of
    the published code (``transformer/utils_quant.py`` L148-151).

    Attributes:
        granularity: "layer" for a weight and an activation width per quantized linear layer, one of them updated per
            step, weights first (section 3.3); "network" for one width of all weights and one of all activations,
            updated together (section 3.2). Between them, and not in the paper: "kind" for one pair of widths per kind
            of matrix, "block" for one per encoder layer, updated as those of "layer" are: ``partition``.
        least: lowest bit-width, 1 to 8.
        most: highest bit-width, ``least`` to 8.
        lambda_weights: factor of the hardware loss on weight widths (Table 6).
        lambda_activations: the same for activation widths.
        eta: learning rate of the widths (Equation 6), at most 1; the published code's 0.1 if left out. A study sets it
            by the steps that it has, see ``xtcq.study.regime``.
        oscillations: a width freezes as soon as it has oscillated more often than this about one whole number
            (section 3.2).
        counts: what one oscillation is. "cycles": a width goes from b up to b + 1 and back, and freezes on the return,
            at the b that it is driven back to from below. "crossings": each step up from b to b + 1, so that it freezes
            one bit higher, at b + 1; that is the published code (``transformer/modeling_quant.py`` L820-823).
        order: which layer or group is updated. "paper": the one whose reduction by a bit changes its tensor least, by
            the mean squared error of Equation 7 over all that are not frozen; the error of a group is the mean over its
            layers. "published": the first of the model that is not frozen; the published code sorts errors of which
            all but one are zero, and so stays with a layer until it is frozen.
        pressure: derivative of the hardware loss. "mean": the other width (Equation 3), for one layer or group the mean
            over all of them of the other width, as in the published code. "bitops": each in proportion to its own bit
            operations (Equation 2), with the same mean.
        paired: both losses of a finite difference see the same dropout masks. The published code draws new ones.
        share: part of the training that exploration may take, between 0 and 1.
        steps: what becomes of LSQ's step sizes when a width changes, "keep" (published code) or "rescale"; see
            ``xtcq.quantization.LSQQuantizer.change_bits``.
        ends: hold the weights of the first and the last quantized linear layer, and the input of the first, at 8 bits
            (Algorithm 1, which leaves that input in full precision). In BERT these are the query of the first encoder
            layer and the pooler. The published code holds nothing.
        short: a study explores although the steps are fewer than the widths need, or the threshold of oscillations is
            below the paper's ten. Without it such a run is refused; with it, its report says what it lacked.

    Raises:
        ValueError: naming the field, its value and what was expected.

    >>> from xtcq import AdaQATSettings
    >>> AdaQATSettings(granularity="network", lambda_weights=0.1).to_dict()
    {'granularity': 'network', 'lambda_weights': 0.1}
    """

    granularity: str = "layer"
    least: int = 2
    most: int = 8
    lambda_weights: float = 0.02
    lambda_activations: float = 0.01
    eta: float | None = None
    oscillations: int = 10
    counts: str = "cycles"
    order: str = "paper"
    pressure: str = "mean"
    paired: bool = True
    share: float = 0.5
    steps: str = "keep"
    ends: bool = False
    short: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name, most in (("least", 8), ("most", 8), ("oscillations", None)):
            check_integer(name, getattr(self, name), 1, most)
        if self.least > self.most:
            raise ValueError(
                f"least is {self.least} and most is {self.most}: no bit-width is in that range, swap the two"
            )
        for name in ("lambda_weights", "lambda_activations", "share", *["eta"] * (self.eta is not None)):
            object.__setattr__(self, name, check_positive(name, getattr(self, name)))
        if self.eta is not None and self.eta > MOST_ETA:
            raise ValueError(
                f"eta is {self.eta!r}, expected at most {MOST_ETA:g} (the published code has {PUBLISHED_ETA}): a "
                "greater rate jumps over widths. Plan more steps, or fewer widths by a coarser granularity"
            )
        if self.share >= 1:
            raise ValueError(
                f"share is {self.share!r}: exploration cannot be as long as the whole training or longer, since "
                "refinement follows it; expected a number between 0 and 1"
            )
        for name in ("paired", "ends", "short"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected True or False")

    @property
    def reach(self) -> float | None:
        """The most that one step may move a width, in bits. The paper has no bound; who wants one derives a class."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Fields that differ from their defaults, JSON-able."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Invert ``to_dict``; a field that there is not is a ValueError."""
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(fields, dict) or set(fields) - set(known):
            given = sorted(fields) if isinstance(fields, dict) else fields
            raise ValueError(f"AdaQAT settings are {known}, all optional; got {given}")
        return cls(**fields)


def partition(names: Sequence[str], granularity: str) -> list[list[int]]:
    """Put layers that share a weight and an activation width into groups.

    Args:
        names: of the quantized linear layers, in the model's order.
        granularity: "layer": every layer alone. "kind": the same matrix of all encoder layers (query, key, value,
            attention output, intermediate, output). "block": all matrices of an encoder layer. "network": all. What is
            in no encoder layer, the pooler, is alone but for "network".

    Returns:
        Indices into ``names``, group by group, in the order of their first layers.

    >>> from xtcq.adaqat import partition
    >>> names = [f"encoder.layer.{i}.{matrix}" for i in range(2) for matrix in ("query", "key")]
    >>> partition([*names, "pooler.dense"], "kind")
    [[0, 2], [1, 3], [4]]
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        block, _, kind = name.partition("encoder.layer.")[2].partition(".")
        group = {"layer": name, "kind": kind or name, "block": block or name, "network": ""}[granularity]
        groups.setdefault(group, []).append(index)
    return list(groups.values())


def held(count: int, settings: AdaQATSettings) -> set[Coordinate]:
    """Return the sides of layers that keep 8 bits: with ``ends``, both of the first, and the weights of the last.

    Algorithm 1 quantizes the weights of both at 8 bits and the input of the last with the learned width. The input of
    the first it does not quantize at all; here it has 8 bits.
    """
    return {(WEIGHTS, 0), (ACTIVATIONS, 0), (WEIGHTS, count - 1)} if settings.ends else set()


def begin(settings: AdaQATSettings, start: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> WidthSearch:
    """Return the widths of a model before their first update.

    Widths at their ``start`` are (weights, activations) of every quantized linear layer, in the model's order, and
    ``sizes`` the number of weights of each.

    Raises:
        ValueError: layers of one group start with different widths.
    """
    names, kept = list(start), held(len(start), settings)
    groups = partition(names, settings.granularity)
    widths: dict[str, list[Width]] = {role: [] for role in ROLES}
    for side, role in enumerate(ROLES):
        for group in groups:
            found = {start[names[layer]][side] for layer in group if (role, layer) not in kept}
            if len(found) > 1:
                raise ValueError(
                    f"{names[group[0]]} and the {len(group) - 1} layers that share its width start with {role} of "
                    f"{' and '.join(map(str, sorted(found)))} bits, and granularity {settings.granularity!r} has one "
                    "width for them: quantize them uniformly, or use 'layer'"
                )
            widths[role].append(Width(float(found.pop())) if found else Width(float(ENDS), frozen=True))
    return WidthSearch(
        weights=widths[WEIGHTS],
        activations=widths[ACTIVATIONS],
        sizes=[sum(sizes[names[layer]] for layer in group) for group in groups],
        penalties={WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations},
        eta=settings.eta or PUBLISHED_ETA,
        least=settings.least,
        most=settings.most,
        oscillations=settings.oscillations,
        counts=settings.counts,
        pressure=settings.pressure,
        reach=settings.reach,
        together=settings.granularity == "network",
    )
