"""Fractional widths become integers within a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from xtcq.allocation.space import SearchSpace, fill
from xtcq.quantization import Widths


def round_to_budget(fractional: Mapping[str, tuple[float, float]], space: SearchSpace, budget: float) -> Widths:
    """Round fractional widths after adding one offset to all of them, the largest that the budget permits.

    FracBits (Yang and Jin, AAAI 2021) looks for the offset by bisection. Here every width is raised from the least one
    in the order in which a growing offset would round it up, which finds the same offset and finds it exactly. A raise
    that would exceed the budget is left out and the later ones are still tried, so that little of the budget is lost
    where many widths are alike.

    Args:
        fractional: widths of weights and inputs of every layer.
        space: layers and range.
        budget: mean bits squared per weight.

    Returns:
        Widths.

    Raises:
        ValueError: the budget is below what the narrowest widths cost, or a width is not finite.
    """
    for name, pair in fractional.items():
        if not all(map(math.isfinite, pair)):
            raise ValueError(f"the fractional widths of {name} are {pair}: the search diverged, lower its rate")

    def order() -> Iterator[tuple[str, int]]:
        raises = [
            (bits - 0.5 - fractional[name][side], name, side)
            for name in space.sizes
            for side in (0, 1)
            for bits in range(space.least + 1, space.most + 1)
        ]
        return ((name, side) for _, name, side in sorted(raises, key=lambda one: one[0]))

    return fill(space.uniform(space.least, space.least), space, budget, order())
