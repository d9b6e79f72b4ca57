"""Fractional widths that learn by gradient descent beside the weights (FracBits)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xtcq.quantization import LSQQuantizer, learned_steps, set_widths
from xtcq_book.allocators.space import LEAST, MOST, SearchSpace, round_to_budget

# Bits that a width may move in one step: a longer one would pass over widths without having tried them.
_MOST_A_STEP = 0.5


class FracBits:
    r"""Widths of weights and inputs, one real number each, which minimise the task loss at a budget of BitOPs.

    Inside ``observe`` a quantized tensor is the interpolation of LSQ at the two integers around its width,

    .. math:: Q_N(v) = (\lfloor N \rfloor + 1 - N)\, Q_{\lfloor N \rfloor}(v)
       + (N - \lfloor N \rfloor)\, Q_{\lfloor N \rfloor + 1}(v),

    so that :math:`\partial Q_N / \partial N` is the difference of the two. One step size serves both, moved from one
    width to the other as the first step would be (see ``LSQQuantizer.change_bits``), so that the value is continuous in
    N. The expected BitOPs over the four combinations of two integers are :math:`N_w N_a |w|`, and with B the mean over
    all weights of :math:`N_w N_a` the loss is

    .. math:: L_{task} + \left| B / B_{budget} - 1 \right|.

    Source: Yang and Jin, "FracBits: Mixed Precision Quantization via Fractional Bit-Widths", AAAI 2021. What differs:
    LSQ instead of DoReFa and PACT, a penalty relative to the budget, and the rule of the rate. Widths move by Adam,
    whose step is its rate wherever gradients keep their sign. The rate falls linearly from
    :math:`\min(24 / steps, 1/2)` to zero: a width that is always pushed one way crosses the range in the
    first 30% of the search unless that has fewer than 48 steps, and the last steps settle what the penalty makes
    oscillate.

    Outside ``observe`` the quantizers hold the integers below their widths; after the last of ``steps`` calls of
    ``step`` those that the budget permits, see ``round_to_budget``.

    Args:
        model: quantized by recipe ``adaqat``; its widths are where the search begins.
        budget: mean bits squared per weight, see ``SearchSpace``.
        steps: number of calls of ``step``.
    """

    def __init__(self, model: nn.Module, budget: float, *, steps: int) -> None:
        """Find the quantizers and start from their widths."""
        self.space = space = SearchSpace.of(model)
        self.budget, self.steps = budget, steps
        self._model, self._done = model, 0
        self._quantizers = learned_steps(model)
        start = [[quantizer.bits for quantizer in pair] for pair in self._quantizers.values()]
        device = next(iter(self._quantizers.values()))[0].step.device
        self.values = nn.Parameter(torch.tensor(start, dtype=torch.float32, device=device))
        sizes = torch.tensor(list(space.sizes.values()), dtype=torch.float32, device=device)
        self._shares = sizes / sizes.sum()
        self._peak = min(4 * (MOST - LEAST) / steps, _MOST_A_STEP)
        self._optimizer = torch.optim.Adam([self.values])
        self._settle()

    @property
    def fractional(self) -> dict[str, tuple[float, float]]:
        """The fractional widths now, of weights and inputs."""
        return {name: (pair[0], pair[1]) for name, pair in zip(self.space.sizes, self.values.tolist(), strict=True)}

    def average(self) -> Tensor:
        """Expected BitOPs over the number of weights, zero-dimensional; the widths take its gradient."""
        return (self._shares * self.values[:, 0] * self.values[:, 1]).sum()

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Interpolate in every forward pass inside the ``with`` block; the backward pass may be inside too."""
        with ExitStack() as stack:
            for row, pair in enumerate(self._quantizers.values()):
                for side, quantizer in enumerate(pair):
                    stack.callback(quantizer.register_forward_hook(self._interpolation(row, side)).remove)
            yield

    def step(self) -> None:
        """Move the widths, after a backward pass inside ``observe``; the last call rounds them to the budget.

        Raises:
            FloatingPointError: a width is not finite any more.
        """
        (self.average() / self.budget - 1).abs().backward()
        self._optimizer.param_groups[0]["lr"] = self._peak * (1 - self._done / self.steps)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if not self.values.isfinite().all():
            raise FloatingPointError(f"widths diverged at exploration step {self._done}. Lower the learning rate")
        self._done += 1
        self._settle()
        if self._done == self.steps:
            set_widths(self._model, round_to_budget(self.fractional, self.space, self.budget), "rescale")

    def _settle(self) -> None:
        """Keep widths in the range and every quantizer at the integer below its own."""
        with torch.no_grad():
            self.values.clamp_(LEAST, MOST)
        for pair, widths in zip(self._quantizers.values(), self.values.tolist(), strict=True):
            for quantizer, width in zip(pair, widths, strict=True):
                bits = min(math.floor(width), MOST - 1)
                if bits != quantizer.bits:
                    quantizer.change_bits(bits, "rescale")

    def _interpolation(self, row: int, side: int) -> Any:
        def after(quantizer: LSQQuantizer, arguments: tuple[Tensor], lower: Tensor) -> Tensor:
            upper = quantizer.forward_at(arguments[0], quantizer.bits + 1, "rescale")
            return torch.lerp(lower, upper, (self.values[row, side] - quantizer.bits).to(lower.dtype))

        return after
