"""The search for bit-widths as arithmetic: fractional widths, their updates, oscillations and freezing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

WEIGHTS, ACTIVATIONS = "weights", "activations"
ROLES = (WEIGHTS, ACTIVATIONS)

# Which width: of the weights or the activations, and of which layer (0 for the whole network).
Coordinate = tuple[str, int]

# A width freezes at its lower bound where it would have to climb half a bit to get away from it (published code: 1.5).
MARGIN = 0.5


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
        reach: float = 1.0,
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
    """Derivative of the hardware loss by the width of every layer.

    Args:
        other: per layer, the width that is multiplied with it: of activations for weights, of weights for activations.
        sizes: number of weights of every layer.
        kind: "mean": the mean of `other`, whatever the layer. "bitops": `other * size` of the layer, scaled to the same
            mean over the layers.

    Returns:
        One number a layer.
    """
    mean = sum(other) / len(other)
    if kind == "mean":
        return [mean] * len(other)
    own = [bits * size for bits, size in zip(other, sizes, strict=True)]
    return [mean * value * len(own) / sum(own) for value in own]


@dataclass
class WidthSearch:
    """All widths of a model, and the rule that moves them; it knows numbers only, no modules.

    Attributes:
        weights: width of the weights, one a layer, or one for the network.
        activations: the same for the inputs.
        sizes: number of weights of each layer.
        penalties: factor lambda of the hardware loss, by role. 0 is allowed and means no pressure.
        eta: learning rate of the widths.
        reach: the most that one step may move a width, in bits.
        least: lowest bit-width.
        most: highest bit-width.
        oscillations: threshold for freezing.
        counts: what one oscillation is, see `AdaQATSettings`.
        pressure: see `pressures`.
        together: both roles are updated in every step, instead of all weights before the first activation.
        step: updates made so far.
        trace: `[step, role, layer, N]` of every update, with role 0 for weights and 1 for activations.
    """

    weights: list[Width]
    activations: list[Width]
    sizes: list[int]
    penalties: dict[str, float]
    eta: float
    reach: float = 1.0
    least: int = 2
    most: int = 8
    oscillations: int = 10
    counts: str = "cycles"
    pressure: str = "mean"
    together: bool = False
    step: int = 0
    trace: list[list[float]] = field(default_factory=list)

    def __getitem__(self, coordinate: Coordinate) -> Width:
        role, layer = coordinate
        return (self.weights if role == WEIGHTS else self.activations)[layer]

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
        for (role, layer), difference in differences.items():
            other = self.activations if role == WEIGHTS else self.weights
            pressure = pressures([width.bits for width in other], self.sizes, self.pressure)[layer]
            gradient = difference + self.penalties[role] * pressure
            gradients[role, layer] = gradient if math.isfinite(gradient) else -math.inf
        for (role, layer), gradient in gradients.items():
            width = self[role, layer]
            width.move(-self.eta * gradient, self.least, self.most, self.oscillations, self.counts, self.reach)
            self.trace.append([self.step, ROLES.index(role), layer, width.value])
        self.step += 1

    def state(self) -> dict[str, Any]:
        """All that `update` changes, and how far it may move widths, JSON-able and exact."""
        widths = {role: [asdict(width) for width in getattr(self, role)] for role in ROLES}
        trace = [list(entry) for entry in self.trace]
        return {"eta": self.eta, "reach": self.reach, "step": self.step, "trace": trace, **widths}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.eta, self.reach, self.step = state["eta"], state["reach"], state["step"]
        self.trace = [list(entry) for entry in state["trace"]]
        for role in ROLES:
            setattr(self, role, [Width(**fields) for fields in state[role]])


def budget_eta(
    weights: Sequence[int],
    activations: Sequence[int],
    sizes: Sequence[int],
    penalties: Mapping[str, float],
    steps: int,
    least: int = 2,
    pressure: str = "mean",
    together: bool = False,
) -> float:
    r"""Learning rate with which half of `steps` are enough for every width to fall to its bound and freeze there.

    Without any gradient from the task, width i moves by :math:`\eta \lambda p_i` in each of its steps, with the
    pressure :math:`p_i`, and has :math:`d_i = N_i - (least - 1/2)` to go. The weights of the L layers fall one after
    the other while activations are at their start, then the activations while weights are at `least`:

    .. math:: \eta = \max\Bigl(0.1,\; \frac{2}{T} \sum_{i=1}^{L} \Bigl(
        \frac{d^w_i}{\lambda_w p^w_i} + \frac{d^a_i}{\lambda_a p^a_i} \Bigr)\Bigr)

    One width for the network moves in every step, so the sum is replaced by the greater of its two terms, and both
    pressures are at least `least`. 0.1 is the published code's rate, for which the 73 matrices of BERT-base from 4 bits
    take 22,800 steps before activations begin. How far one step may move a width follows the budget as well, see
    `budget_reach`.

    Args:
        weights: start widths N of the weights.
        activations: start widths of the activations.
        sizes: number of weights of every layer.
        penalties: lambda, by role; positive.
        steps: T, the number of exploration steps.
        least: lowest bit-width.
        pressure: see `pressures`.
        together: one width for the network.

    Returns:
        The learning rate.
    """
    bounds = [least] * len(sizes)
    needs = []
    for role, start, other in (
        (WEIGHTS, weights, bounds if together else activations),
        (ACTIVATIONS, activations, bounds),
    ):
        speeds = pressures(other, sizes, pressure)
        ways = [bits - least + MARGIN for bits in start]
        needs.append(sum(way / (penalties[role] * p) for way, p in zip(ways, speeds, strict=True)))
    return max(0.1, 2 / steps * (max(needs) if together else sum(needs)))


def budget_reach(
    weights: Sequence[int], activations: Sequence[int], steps: int, least: int = 2, together: bool = False
) -> float:
    r"""The most that a step may move a width, in bits: one, unless half of `steps` are too few for that.

    The paper has no bound, and its rate of 0.1 needs none. At the rate of a short budget a single batch could throw a
    width from one end of its range to the other; one bit a step prevents that, and is enough where there are steps for
    every bit. Where there are not, with :math:`d_i` as in `budget_eta`,

    .. math:: r = \max\Bigl(1,\; \frac{2}{T} \sum_{i=1}^{L} (d^w_i + d^a_i) \Bigr)

    lets every width reach its bound within half of the exploration. Two widths for the network move side by side, so
    there the sum is replaced by the greater distance.

    Args:
        weights: start widths N of the weights.
        activations: start widths of the activations.
        steps: T, the number of exploration steps.
        least: lowest bit-width.
        together: one width for the network.

    Returns:
        Bits.
    """
    ways = [bits - least + MARGIN for bits in (*weights, *activations)]
    return max(1.0, 2 / steps * (max(ways) if together else sum(ways)))
