"""The search for bit-widths as arithmetic: fractional widths, their updates, oscillations and freezing."""

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
# The published code's learning rate of the widths, and the greatest that a search may have.
PUBLISHED_ETA, MOST_ETA = 0.1, 1.0
# What one step may move a width, in bits, at the greatest rate; in proportion below it.
MOST_REACH = 0.5
# A search is the paper's with its threshold of oscillations (section 3.2), and with time to look at every width.
THRESHOLD, UPDATES = 10, 20


@dataclass
class Width:
    """One learned width.

    Attributes:
        value: fractional width N.
        frozen: it no longer changes.
        risen_from: b if the last change of `bits` was from b to b + 1.
        counts: oscillations about every whole number, by that number.
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
        oscillations: int = 10,
        counts: str = "cycles",
        reach: float = MOST_REACH,
    ) -> None:
        """Add `change`, but at most `reach`, and freeze the width where that is due.

        It freezes at `least` where N falls to half a bit below, and as soon as it has oscillated more than
        `oscillations` times about one whole number. To be driven against `most` counts as an oscillation about it. A
        frozen width does not move.

        Args:
            change: added to N.
            least: lowest bit-width.
            most: highest bit-width.
            oscillations: threshold.
            counts: "cycles" or "crossings", see `AdaQATSettings`.
            reach: the most that one step may move, in bits.
        """
        if self.frozen:
            return
        before, wanted = self.bits, self.value + min(max(change, -reach), reach)
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
    """Derivative of the hardware loss by the width of every group of layers.

    A group is pressed as hard as one layer is in a search layer by layer, however many layers it has: the width of the
    whole network is the case of one group (Equation 3).

    Args:
        other: per group, the width that is multiplied with it: of activations for weights, of weights for activations.
        sizes: number of weights of every group.
        kind: "mean": the mean of `other`, whatever the group. "bitops": `other * size` of the group, scaled to the same
            mean over the groups.

    Returns:
        One number a group.
    """
    mean = sum(other) / len(other)
    if kind == "mean":
        return [mean] * len(other)
    own = [bits * size for bits, size in zip(other, sizes, strict=True)]
    return [mean * value * len(own) / sum(own) for value in own]


@dataclass(frozen=True)
class Length:
    """What a search needs in the worst case, see `WidthSearch.length`.

    Attributes:
        falling: steps on the way down at the greatest learning rate; the lower the rate, the more.
        settling: steps of the oscillations that end in freezing, at any rate.
    """

    falling: float
    settling: int

    def steps(self, eta: float = MOST_ETA) -> int:
        """Exploration steps that are enough at a learning rate of the widths."""
        return math.ceil(self.falling / eta) + self.settling

    def eta(self, steps: int) -> float:
        """Smallest learning rate for which `steps` are enough, from the published code's 0.1 to 1."""
        spare = steps - self.settling
        return min(max(self.falling / spare, PUBLISHED_ETA), MOST_ETA) if spare > 0 else MOST_ETA


@dataclass
class WidthSearch:
    """All widths of a model, and the rule that moves them; it knows numbers only, no modules.

    Attributes:
        weights: width of the weights, one a group of layers.
        activations: the same for the inputs.
        sizes: number of weights of each group.
        penalties: factor lambda of the hardware loss, by role. 0 is allowed and means no pressure.
        eta: learning rate of the widths.
        least: lowest bit-width.
        most: highest bit-width.
        oscillations: threshold for freezing.
        counts: what one oscillation is, see `AdaQATSettings`.
        pressure: see `pressures`.
        together: both roles are updated in every step, instead of all weights before the first activation.
        step: updates made so far.
        trace: `[step, role, group, N]` of every update, with role 0 for weights and 1 for activations.
    """

    weights: list[Width]
    activations: list[Width]
    sizes: list[int]
    penalties: dict[str, float]
    eta: float = MOST_ETA
    least: int = 2
    most: int = 8
    oscillations: int = THRESHOLD
    counts: str = "cycles"
    pressure: str = "mean"
    together: bool = False
    step: int = 0
    trace: list[list[float]] = field(default_factory=list)

    def __getitem__(self, coordinate: Coordinate) -> Width:
        role, group = coordinate
        return (self.weights if role == WEIGHTS else self.activations)[group]

    @property
    def reach(self) -> float:
        """The most that one step may move a width, in bits.

        The paper has no bound. Here a rise of the loss by more than half a unit counts as half a unit, so that no
        single batch decides about a width, and the way back from it has a known length.
        """
        return MOST_REACH * min(self.eta, MOST_ETA)

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
        has no loss any more, so that the width moves up, by the most that a step may do.

        Args:
            differences: L(U) - L(D) for the widths to move.
        """
        gradients = {}
        for (role, group), difference in differences.items():
            other = self.activations if role == WEIGHTS else self.weights
            pressure = pressures([width.bits for width in other], self.sizes, self.pressure)[group]
            gradient = difference + self.penalties[role] * pressure
            gradients[role, group] = gradient if math.isfinite(gradient) else -math.inf
        for (role, group), gradient in gradients.items():
            width = self[role, group]
            width.move(-self.eta * gradient, self.least, self.most, self.oscillations, self.counts, self.reach)
            self.trace.append([self.step, ROLES.index(role), group, width.value])
        self.step += 1

    def state(self) -> dict[str, Any]:
        """All that `update` changes, and the learning rate, JSON-able and exact."""
        widths = {role: [asdict(width) for width in getattr(self, role)] for role in ROLES}
        trace = [list(entry) for entry in self.trace]
        return {"eta": self.eta, "step": self.step, "trace": trace, **widths}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
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

    def length(self) -> Length:
        r"""Steps that are enough for every width to come to rest, from where the widths are now.

        With a rate :math:`\eta \le 1`, a width i falls by :math:`\eta s_i` a step while nothing resists, where
        :math:`s_i = \min(\lambda p_i, 1/2)` and :math:`p_i` is its pressure. Where its last bit is needed, a step takes
        it up, by :math:`\eta/2` at most (`reach`), and :math:`\lceil 1/(2 s_i) \rceil` steps at most take it down
        again; the K + 1st such oscillation freezes it. From :math:`N_i` bits that makes at most

        .. math:: \frac{N_i - least}{\eta s_i} + 1 + \max\Bigl(20,\;
            (K + 1) \Bigl(1 + \Bigl\lceil \frac{1}{2 s_i} \Bigr\rceil \Bigr)\Bigr)

        steps, and never fewer than the 20 updates without which a width was hardly looked at. It holds where the loss
        of the last bit costs at least twice the pressure, as a bit that is needed does; a width that nothing holds
        freezes at its bound earlier. Widths of groups move one after the other, so their steps are added: weights while
        activations are at their start, then activations, in the worst case while all weights are at `least`. Widths
        that move together need the longest of these, with all pressures at `least`.
        """
        falling, settling = [], []
        for role in ROLES:
            early = role == WEIGHTS and not self.together
            other = [width.bits if early else self.least for width in self.activations]
            speeds = [
                min(self.penalties[role] * pressure, MOST_REACH)
                for pressure in pressures(other, self.sizes, self.pressure)
            ]
            free = [(w, speed) for w, speed in zip(getattr(self, role), speeds, strict=True) if not w.frozen]
            falling.append(sum((width.value - self.least) / speed for width, speed in free))
            cycles = [(self.oscillations + 1) * (1 + math.ceil(MOST_REACH / speed)) for _, speed in free]
            settling.append(sum(1 + max(UPDATES, steps) for steps in cycles))
        total = max if self.together else sum
        return Length(total(falling), total(settling))
