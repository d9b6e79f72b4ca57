"""Bit-widths as real numbers that move, oscillate and freeze (AdaQAT-BERT, equation 6); no model is needed for that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

WEIGHTS, ACTIVATIONS = "weights", "activations"
ROLES = (WEIGHTS, ACTIVATIONS)

# Which width: of the weights or the activations, and of which group of layers.
Coordinate = tuple[str, int]

# A width freezes at its lower bound where it would have to climb half a bit to get away from it (published code: 1.5).
MARGIN = 0.5
# The published code's learning rate of the widths.
PUBLISHED_ETA = 0.1
# Oscillations after which a width freezes (section 3.2).
THRESHOLD = 10


@dataclass
class Width:
    """One learned width.

    Attributes:
        value: fractional width N.
        frozen: it no longer changes.
        risen_from: b if the last change of ``bits`` was from b to b + 1.
        counts: oscillations about every whole number, by that number.

    >>> from xtcq.adaqat import Width
    >>> width = Width(4.0)
    >>> width.move(-0.3)
    >>> width.value, width.bits
    (3.7, 4)
    """

    value: float
    frozen: bool = False
    risen_from: int | None = None
    counts: list[int] = field(default_factory=lambda: [0] * 9)

    @property
    def bits(self) -> int:
        """The width in use, N rounded up."""
        return math.ceil(self.value)

    def move(
        self,
        change: float,
        least: int = 2,
        most: int = 8,
        oscillations: int = THRESHOLD,
        counts: str = "cycles",
        reach: float | None = None,
    ) -> None:
        """Add ``change``, but at most ``reach``, and freeze the width where that is due.

        It freezes at ``least`` where N falls to half a bit below, and as soon as it has oscillated more than
        ``oscillations`` times about one whole number. To be driven against ``most`` counts as an oscillation about it.
        A frozen width does not move.

        Args:
            change: added to N.
            least: lowest bit-width.
            most: highest bit-width.
            oscillations: threshold.
            counts: "cycles" or "crossings", see ``AdaQATSettings``.
            reach: the most that one step may move, in bits; any distance if left out.
        """
        if self.frozen:
            return
        if reach is not None:
            change = min(max(change, -reach), reach)
        before, wanted = self.bits, self.value + change
        self.value = min(max(wanted, least - MARGIN), most)
        self.frozen = self.value == least - MARGIN
        about = None
        if self.bits > before:
            about, self.risen_from = (before if counts == "crossings" else None), before
        elif self.bits < before:
            if counts == "cycles" and self.risen_from == self.bits:
                about = self.bits
            self.risen_from = None
        elif wanted > most:
            about = most
        if about is not None:
            self.counts[about] += 1
            self.frozen |= self.counts[about] > oscillations


def pressures(other: Sequence[float], sizes: Sequence[int], kind: str) -> list[float]:
    """Derivative of the hardware loss by the width of every group of layers, in the order of ``sizes``.

    A group is pressed as hard as one layer is in a search layer by layer, however many layers it has: the width of the
    whole network is the case of one group (Equation 3).

    Args:
        other: per group, the width that is multiplied with it: of activations for weights, of weights for activations.
        sizes: number of weights of every group.
        kind: "mean": the mean of ``other``, whatever the group. "bitops": ``other * size`` of the group, scaled to the
            same mean over the groups.

    >>> from xtcq.adaqat import pressures
    >>> pressures([4, 2], [10, 30], "mean"), pressures([4, 2], [10, 30], "bitops")
    ([3.0, 3.0], [2.4, 3.6])
    """
    mean = sum(other) / len(other)
    if kind == "mean":
        return [mean] * len(other)
    own = [bits * size for bits, size in zip(other, sizes, strict=True)]
    return [mean * value * len(own) / sum(own) for value in own]


@dataclass
class WidthSearch:
    """All widths of a model, and the rule that moves them; it knows numbers only, no modules.

    One step on the widths of a model with two layers, of which the weights of the first hardly matter:

    >>> from xtcq import WidthSearch
    >>> from xtcq.adaqat import ACTIVATIONS, WEIGHTS, Width
    >>> four = lambda: [Width(4.0), Width(4.0)]
    >>> widths = WidthSearch(four(), four(), sizes=[10, 10], penalties={WEIGHTS: 0.02, ACTIVATIONS: 0.01})
    >>> widths.update({(WEIGHTS, 0): 0.0})  # no loss: lambda * 4 bits of the activations press it by eta times 0.08
    >>> round(widths.weights[0].value, 4)
    3.992

    Attributes:
        weights: width of the weights, one a group of layers.
        activations: the same for the inputs.
        sizes: number of weights of each group.
        penalties: factor lambda of the hardware loss, by role. 0 is allowed and means no pressure.
        eta, least, most, oscillations, counts, pressure: see ``AdaQATSettings``.
        reach: the most that one step may move a width, in bits; the paper has no bound.
        together: both roles are updated in every step, instead of all weights before the first activation.
        step: updates made so far.
        trace: ``[step, role, group, N]`` of every update, with role 0 for weights and 1 for activations.
    """

    weights: list[Width]
    activations: list[Width]
    sizes: list[int]
    penalties: dict[str, float]
    eta: float = PUBLISHED_ETA
    least: int = 2
    most: int = 8
    oscillations: int = THRESHOLD
    counts: str = "cycles"
    pressure: str = "mean"
    reach: float | None = None
    together: bool = False
    step: int = 0
    trace: list[list[float]] = field(default_factory=list)

    def __getitem__(self, coordinate: Coordinate) -> Width:
        role, group = coordinate
        return (self.weights if role == WEIGHTS else self.activations)[group]

    @property
    def finished(self) -> bool:
        """Whether every width is frozen."""
        return all(width.frozen for width in (*self.weights, *self.activations))

    def candidates(self) -> list[Coordinate]:
        """Widths that may move now: those of the phase, weights before activations, that are not frozen."""
        free = [(role, i) for role in ROLES for i in range(len(self.weights)) if not self[role, i].frozen]
        return free if self.together else [one for one in free if one[0] == free[0][0]]

    def update(self, differences: Mapping[Coordinate, float]) -> None:
        r"""Move widths by Equation 6, N <- N - eta (L(U) - L(D) + lambda * pressure).

        All pressures are those before the update. A difference that is NaN or infinite means that the narrower model
        has no loss any more, so that the width moves up, by ``reach`` or else by one bit.

        Args:
            differences: L(U) - L(D) for the widths to move.
        """
        changes = {}
        for (role, group), difference in differences.items():
            other = self.activations if role == WEIGHTS else self.weights
            pressure = pressures([width.bits for width in other], self.sizes, self.pressure)[group]
            gradient = difference + self.penalties[role] * pressure
            changes[role, group] = -self.eta * gradient if math.isfinite(gradient) else self.reach or 1.0
        for (role, group), change in changes.items():
            width = self[role, group]
            width.move(change, self.least, self.most, self.oscillations, self.counts, self.reach)
            self.trace.append([self.step, ROLES.index(role), group, width.value])
        self.step += 1

    def state(self) -> dict[str, Any]:
        """All that ``update`` changes, and the learning rate, JSON-able and exact."""
        widths = {role: [asdict(width) for width in getattr(self, role)] for role in ROLES}
        trace = [list(entry) for entry in self.trace]
        return {"eta": self.eta, "step": self.step, "trace": trace, **widths}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state``."""
        self.eta, self.step = state["eta"], state["step"]
        self.trace = [list(entry) for entry in state["trace"]]
        for role in ROLES:
            setattr(self, role, [Width(**fields) for fields in state[role]])

    def updates(self) -> dict[str, list[int]]:
        """How often each width was moved, by role."""
        counts = {role: [0] * len(self.sizes) for role in ROLES}
        for _, role, group, _ in self.trace:
            counts[ROLES[int(role)]][int(group)] += 1
        return counts
