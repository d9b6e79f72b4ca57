"""What an allocator chooses from: the layers, their sizes, the range of widths, and what a choice costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Self

from torch import nn

from xtcq.quantization import LSQQuantizer, QuantLinear, Widths


@dataclass(frozen=True)
class SearchSpace:
    """Layers whose weights and inputs each take an integer width from one range.

    A budget is the mean of Nw * Na over all weights: the BitOPs of AdaQAT-BERT (equation 2) divided by the number of
    weights of these layers. So it means the same on every encoder: uniform 2-4 costs 8, 3-4 costs 12, 4-4 costs 16.

    Attributes:
        sizes: number of weights of each layer, by name.
        least: smallest width.
        most: largest width.

    Raises:
        ValueError: no layer, or a range that is empty or leaves 1 to 8 bits.
    """

    sizes: Mapping[str, int]
    least: int = 2
    most: int = 8

    def __post_init__(self) -> None:
        """Check, and keep a copy of the sizes."""
        check_range(self.least, self.most)
        if not self.sizes:
            raise ValueError(
                "there is no layer with learned steps for weights and inputs, so there are no widths to choose: "
                "quantize the model by recipe 'adaqat', with fewer than 32 bits for weights and activations"
            )
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))

    @classmethod
    def of(cls, model: nn.Module, least: int = 2, most: int = 8) -> Self:
        """Return the space of a quantized model: its linear layers with learned steps for weights and inputs.

        Raises:
            ValueError: as above.
        """
        layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}
        return cls({name: m.weight.numel() for name, m in layers.items() if _learns(m)}, least, most)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair (weight bits, input bits), in ascending order."""
        return list(product(range(self.least, self.most + 1), repeat=2))

    def average(self, widths: Mapping[str, tuple[float, float]]) -> float:
        """Return the mean of Nw * Na over all weights, in bits squared; widths may be fractional."""
        return self.bitops(widths) / sum(self.sizes.values())

    def bitops(self, widths: Mapping[str, tuple[float, float]]) -> float:
        """Return the sum of Nw * Na * |w|."""
        return sum(size * widths[name][0] * widths[name][1] for name, size in self.sizes.items())

    def limit(self, budget: float) -> float:
        """Return the BitOPs that a budget allows.

        Raises:
            ValueError: the narrowest widths already cost more.
        """
        if not budget >= self.least**2:
            raise ValueError(
                f"budget={budget!r} is below {self.least**2}, what {self.least} bits everywhere cost: raise it, or "
                "lower the least width"
            )
        # Products of integers are exact; a budget such as 12.3 is not, and must not lose the choice that meets it.
        return budget * sum(self.sizes.values()) * (1 + 1e-12)

    def uniform(self, weights: int, inputs: int) -> Widths:
        """Return the same pair for every layer."""
        return dict.fromkeys(self.sizes, (weights, inputs))


def _learns(layer: QuantLinear) -> bool:
    return isinstance(layer.weight_quantizer, LSQQuantizer) and isinstance(layer.input_quantizer, LSQQuantizer)


def check_range(least: int, most: int) -> None:
    """Refuse a range that no quantizer has.

    Raises:
        ValueError: least and most are not integers with 1 <= least <= most <= 8.
    """
    whole = all(isinstance(bits, int) and not isinstance(bits, bool) for bits in (least, most))
    if not whole or not 1 <= least <= most <= 8:
        raise ValueError(
            f"the range of widths is {least!r} to {most!r}: expected integers with 1 <= least <= most <= 8"
        )


def fill(widths: Widths, space: SearchSpace, budget: float, order: Iterator[tuple[str, int]]) -> Widths:
    """Raise widths bit by bit in a given order, leaving out each raise that would exceed the budget.

    Args:
        widths: where to begin; within the budget.
        space: layers and range.
        budget: most that the result may cost.
        order: layer and 0 (its weights) or 1 (its inputs); each raises that width by one bit. A width that was left
            out once stays as it is.

    Returns:
        The widths.
    """
    widths, left = dict(widths), space.limit(budget) - space.bitops(widths)
    closed = set()
    for name, side in order:
        price = space.sizes[name] * widths[name][1 - side]
        if (name, side) in closed or widths[name][side] == space.most:
            continue
        if price > left:
            closed.add((name, side))
            continue
        left -= price
        pair = list(widths[name])
        pair[side] += 1
        widths[name] = (pair[0], pair[1])
    return widths
