"""What an allocator chooses from, what a choice costs, and the choices that look at nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Self

from torch import nn

from xtcq.quantization import Widths, learned_steps

# Every width is of this range; the library's learned steps have no other.
LEAST, MOST = 2, 8
PAIRS = list(product(range(LEAST, MOST + 1), repeat=2))


@dataclass(frozen=True)
class SearchSpace:
    """Matrices whose weights and inputs each take an integer width from 2 to 8 bits.

    A budget is the mean of Nw * Na over all weights: the BitOPs of AdaQAT-BERT (equation 2) divided by the number of
    weights of these matrices. So it means the same on every encoder: uniform 2-4 costs 8, 3-4 costs 12, 4-4 costs 16.

    Attributes:
        sizes: number of weights of each matrix, by name.
    """

    sizes: Mapping[str, int]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The space of a quantized model: its linear layers with learned steps for weights and inputs."""
        return cls({name: model.get_submodule(name).weight.numel() for name in learned_steps(model)})

    def average(self, widths: Mapping[str, tuple[float, float]]) -> float:
        """The mean of Nw * Na over all weights, in bits squared; widths may be fractional."""
        return self.bitops(widths) / sum(self.sizes.values())

    def bitops(self, widths: Mapping[str, tuple[float, float]]) -> float:
        """The sum of Nw * Na * |w|."""
        return sum(size * widths[name][0] * widths[name][1] for name, size in self.sizes.items())

    def limit(self, budget: float) -> float:
        """The BitOPs that a budget allows."""
        # Products of integers are exact; a budget such as 12.3 is not, and must not lose the choice that meets it.
        return budget * sum(self.sizes.values()) * (1 + 1e-12)


def uniform(budget: float) -> tuple[int, int]:
    """The most expensive pair of weights and inputs within a budget, the same for every matrix.

    Of several pairs with the same product, the one whose two widths are closest is taken, and of those the one with
    more bits for activations, which are the more sensitive (AdaQAT-BERT section 3.3): 16 gives 4-4, 12 gives 3-4 and 8
    gives 2-4.
    """
    within = [pair for pair in PAIRS if pair[0] * pair[1] <= budget]
    return max(within, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - pair[1]), pair[1]))


def random_widths(space: SearchSpace, budget: float, seed: int) -> Widths:
    """Random widths that fill a budget from below.

    Every width is drawn uniformly from the range. While the choice costs too much, one width that can be lowered is
    drawn and loses a bit; then widths are raised bit by bit in random order until none can be raised within the budget.
    """
    limit = space.limit(budget)
    draw = random.Random(seed)
    drawn = {(name, side): draw.randint(LEAST, MOST) for name in space.sizes for side in (0, 1)}

    def pairs() -> Widths:
        return {name: (drawn[name, 0], drawn[name, 1]) for name in space.sizes}

    while space.bitops(pairs()) > limit:
        drawn[draw.choice([place for place, bits in drawn.items() if bits > LEAST])] -= 1

    def order() -> Iterator[tuple[str, int]]:
        for _ in range(MOST - LEAST):
            yield from draw.sample(list(drawn), len(drawn))

    return _fill(pairs(), space, budget, order())


def round_to_budget(fractional: Mapping[str, tuple[float, float]], space: SearchSpace, budget: float) -> Widths:
    """Round fractional widths after adding one offset to all of them, the largest that a budget permits.

    FracBits (Yang and Jin, AAAI 2021) looks for the offset by bisection. Here every width is raised from the least one
    in the order in which a growing offset would round it up, which finds the same offset and finds it exactly. A raise
    that would exceed the budget is left out and the later ones are still tried, so that little of the budget is lost
    where many widths are alike.
    """
    raises = [
        (bits - 0.5 - fractional[name][side], name, side)
        for name in space.sizes
        for side in (0, 1)
        for bits in range(LEAST + 1, MOST + 1)
    ]
    order = ((name, side) for _, name, side in sorted(raises, key=lambda one: one[0]))
    return _fill(dict.fromkeys(space.sizes, (LEAST, LEAST)), space, budget, order)


def _fill(widths: Widths, space: SearchSpace, budget: float, order: Iterable[tuple[str, int]]) -> Widths:
    """Raise widths bit by bit in an order of (matrix, 0 for its weights or 1 for its inputs).

    A raise that would exceed the budget is left out, and that width stays as it is.
    """
    widths, left = dict(widths), space.limit(budget) - space.bitops(widths)
    closed = set()
    for name, side in order:
        price = space.sizes[name] * widths[name][1 - side]
        if (name, side) in closed or widths[name][side] == MOST:
            continue
        if price > left:
            closed.add((name, side))
            continue
        left -= price
        pair = list(widths[name])
        pair[side] += 1
        widths[name] = (pair[0], pair[1])
    return widths
