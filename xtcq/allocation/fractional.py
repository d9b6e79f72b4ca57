"""Fractional widths that learn by gradient descent beside the weights (FracBits)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from xtcq.allocation.rounding import round_to_budget
from xtcq.allocation.space import SearchSpace
from xtcq.quantization import LSQQuantizer, QuantLinear, Widths, set_widths


class FractionalWidths:
    r"""Widths of weights and inputs, one real number each, which minimise the task loss at a budget of BitOPs.

    While they are attached, a quantized tensor is the interpolation of LSQ at the two integers around its width,

    .. math:: Q_N(v) = (\lfloor N \rfloor + 1 - N)\, Q_{\lfloor N \rfloor}(v)
       + (N - \lfloor N \rfloor)\, Q_{\lfloor N \rfloor + 1}(v),

    in training and in evaluation, so that :math:`\partial Q_N / \partial N` is the difference of the two. One step
    size serves both, as it is ("keep") or moved from one width to the other as the first step would ("rescale", see
    `LSQQuantizer.change_bits`); either way the value is continuous in N. The expected BitOPs over the four combinations
    of two integers are :math:`N_w N_a |w|`, and with B the mean over all weights of :math:`N_w N_a` the loss is

    .. math:: L_{task} + \kappa \left| B / B_{budget} - 1 \right|.

    Source: Yang and Jin, "FracBits: Mixed Precision Quantization via Fractional Bit-Widths", AAAI 2021. What differs:
    LSQ instead of DoReFa and PACT, a penalty relative to the budget, and the rule of the rate. Widths move by Adam,
    whose step is its rate wherever gradients keep their sign. The rate falls linearly from
    :math:`4 (most - least) / updates` to zero: a width that is always pushed one way crosses the range in the first 30%
    of the search, however short that is, and the last steps settle what the penalty makes oscillate.

    Args:
        model: quantized by recipe `adaqat`; its integer widths are where the search begins, moved into the range.
        space: layers and range.
        budget: mean bits squared per weight.
        updates: number of calls of `update` that the search has.
        kappa: weight of the penalty.
        steps: "keep" or "rescale".

    Raises:
        ValueError: the budget is below what the narrowest widths cost, the range has one width, or kappa or updates is
            not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        space: SearchSpace,
        budget: float,
        updates: int,
        kappa: float = 1.0,
        steps: str = "rescale",
    ) -> None:
        space.limit(budget)
        if space.least == space.most:
            raise ValueError(f"the range of widths is {space.least} to {space.most}: a search needs two widths")
        if not (math.isfinite(kappa) and kappa > 0):
            raise ValueError(f"kappa is {kappa!r}, expected a positive number")
        if updates < 1:
            raise ValueError(f"updates is {updates!r}, expected at least one step of exploration")
        self.space, self.budget, self.kappa, self.steps = space, budget, kappa, steps
        layers = {name: model.get_submodule(name) for name in space.sizes}
        self._quantizers = {name: _quantizers(layer) for name, layer in layers.items()}
        start = [[q.bits for q in pair] for pair in self._quantizers.values()]
        device = next(iter(layers.values())).weight.device
        self.values = nn.Parameter(torch.tensor(start, dtype=torch.float32, device=device))
        sizes = torch.tensor(list(space.sizes.values()), dtype=torch.float32, device=device)
        self._shares = sizes / sizes.sum()
        self._peak, self._updates, self._done = 4 * (space.most - space.least) / updates, updates, 0
        self._optimizer = torch.optim.Adam([self.values])
        self._settle()

    @property
    def widths(self) -> dict[str, tuple[float, float]]:
        """The widths now, of weights and inputs."""
        return {name: (pair[0], pair[1]) for name, pair in zip(self.space.sizes, self.values.tolist(), strict=True)}

    def average(self) -> Tensor:
        """Expected BitOPs over the number of weights, zero-dimensional; the widths take its gradient."""
        return (self._shares * self.values[:, 0] * self.values[:, 1]).sum()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Interpolate in every forward pass inside the `with` block."""
        handles = [
            quantizer.register_forward_hook(self._interpolation(row, side))
            for row, pair in enumerate(self._quantizers.values())
            for side, quantizer in enumerate(pair)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def update(self) -> None:
        """Move the widths; to be called after the task loss's backward pass, once an optimizer step."""
        (self.kappa * (self.average() / self.budget - 1).abs()).backward()
        self._optimizer.param_groups[0]["lr"] = self._peak * max(0.0, 1 - self._done / self._updates)
        self._optimizer.step()
        self._done += 1
        self._optimizer.zero_grad()
        self._settle()

    def finish(self, model: nn.Module) -> Widths:
        """Round the widths to the budget, set them in `model` and return them."""
        widths = round_to_budget(self.widths, self.space, self.budget)
        set_widths(model, widths, self.steps)
        return widths

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed search needs, besides the model's own state."""
        moments = deepcopy(self._optimizer.state_dict())
        return {"widths": self.values.detach().clone(), "optimizer": moments, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the model's state, which holds the steps, is loaded before."""
        with torch.no_grad():
            self.values.copy_(state["widths"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._done = state["done"]
        self._settle()

    def _settle(self) -> None:
        """Keep widths in the range and every quantizer at the integer below its own."""
        with torch.no_grad():
            self.values.clamp_(self.space.least, self.space.most)
        for pair, widths in zip(self._quantizers.values(), self.values.tolist(), strict=True):
            for quantizer, width in zip(pair, widths, strict=True):
                bits = min(math.floor(width), self.space.most - 1)
                if bits != quantizer.bits:
                    quantizer.change_bits(bits, self.steps)

    def _interpolation(self, row: int, side: int) -> Any:
        def after(quantizer: LSQQuantizer, arguments: tuple[Tensor], lower: Tensor) -> Tensor:
            upper = quantizer.forward_at(arguments[0], quantizer.bits + 1, self.steps)
            return torch.lerp(lower, upper, (self.values[row, side] - quantizer.bits).to(lower.dtype))

        return after


def _quantizers(layer: QuantLinear) -> tuple[LSQQuantizer, LSQQuantizer]:
    return layer.weight_quantizer, layer.input_quantizer
