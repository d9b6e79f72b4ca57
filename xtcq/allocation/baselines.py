"""Allocators that know nothing of the model: the same widths everywhere, and random ones."""

from __future__ import annotations

import random as generators
from collections.abc import Iterator

from xtcq.allocation.space import SearchSpace, fill
from xtcq.quantization import Widths


def uniform(space: SearchSpace, budget: float) -> Widths:
    """Return the most expensive uniform pair within the budget.

    Of several pairs with the same product, the one whose two widths are closest is taken, and of those the one with
    more bits for activations, which are the more sensitive (AdaQAT-BERT section 3.3): 16 gives 4-4, 12 gives 3-4 and 8
    gives 2-4.

    Args:
        space: layers and range.
        budget: mean bits squared per weight.

    Returns:
        Widths.

    Raises:
        ValueError: the budget is below what the narrowest widths cost.
    """
    space.limit(budget)
    within = [pair for pair in space.pairs if pair[0] * pair[1] <= budget]
    return space.uniform(*max(within, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - pair[1]), pair[1])))


def random(space: SearchSpace, budget: float, seed: int) -> Widths:
    """Return random widths that fill the budget from below.

    Every width is drawn uniformly from the range. While the choice costs too much, one width that can be lowered is
    drawn and loses a bit; then widths are raised bit by bit in random order until none can be raised within the budget.

    Args:
        space: layers and range.
        budget: mean bits squared per weight.
        seed: of the draws.

    Returns:
        Widths.

    Raises:
        ValueError: the budget is below what the narrowest widths cost.
    """
    limit = space.limit(budget)
    draw = generators.Random(seed)
    drawn = {(name, side): draw.randint(space.least, space.most) for name in space.sizes for side in (0, 1)}

    def pairs() -> Widths:
        return {name: (drawn[name, 0], drawn[name, 1]) for name in space.sizes}

    while space.bitops(pairs()) > limit:
        drawn[draw.choice([place for place, bits in drawn.items() if bits > space.least])] -= 1

    def order() -> Iterator[tuple[str, int]]:
        for _ in range(space.most - space.least):
            yield from draw.sample(list(drawn), len(drawn))

    return fill(pairs(), space, budget, order())
