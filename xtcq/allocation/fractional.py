"""Fractional widths that learn by gradient descent beside the weights (FracBits)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xtcq.allocation.rounding import round_to_budget
from xtcq.allocation.space import SearchSpace
from xtcq.quantization import LSQQuantizer, QuantLinear, set_widths

# Bits that a width may move in one step: a longer one would pass over widths without having tried them.
_MOST_A_STEP = 0.5


class FracBits:
    r"""Widths of weights and inputs, one real number each, which minimise the task loss at a budget of BitOPs.

    Inside `observe` a quantized tensor is the interpolation of LSQ at the two integers around its width,

    .. math:: Q_N(v) = (\lfloor N \rfloor + 1 - N)\, Q_{\lfloor N \rfloor}(v)
       + (N - \lfloor N \rfloor)\, Q_{\lfloor N \rfloor + 1}(v),

    so that :math:`\partial Q_N / \partial N` is the difference of the two. One step
    size serves both, as it is ("keep") or moved from one width to the other as the first step would ("rescale", see
    `LSQQuantizer.change_bits`); either way the value is continuous in N. The expected BitOPs over the four combinations
    of two integers are :math:`N_w N_a |w|`, and with B the mean over all weights of :math:`N_w N_a` the loss is

    .. math:: L_{task} + \kappa \left| B / B_{budget} - 1 \right|.

    Source: Yang and Jin, "FracBits: Mixed Precision Quantization via Fractional Bit-Widths", AAAI 2021. What differs:
    LSQ instead of DoReFa and PACT, a penalty relative to the budget, and the rule of the rate. Widths move by Adam,
    whose step is its rate wherever gradients keep their sign. The rate falls linearly from
    :math:`\min(4 (most - least) / steps, 1/2)` to zero: a width that is always pushed one way crosses the range in the
    first 30% of the search unless that has fewer than 48 steps, and the last steps settle what the penalty makes
    oscillate.

    Outside `observe` the quantizers hold the integers below their widths; after the last of `steps` calls of `step`
    those that the budget permits, see `round_to_budget`. The interface is that of `xtcq.adaqat.AdaQAT`:

        search = FracBits(model, budget=12, steps=1000)
        for batch in batches:
            with search.observe():
                loss = model(**batch).loss
                loss.backward()
            search.step(loss)
            optimizer.step()

    Args:
        model: quantized by recipe `adaqat`; its widths are where the search begins, moved into the range.
        budget: mean bits squared per weight, see `SearchSpace`.
        steps: number of calls of `step`.
        least: smallest width.
        most: largest width.
        kappa: weight of the penalty.
        rescaling: what becomes of LSQ's steps, "keep" or "rescale".

    Raises:
        ValueError: nothing is quantized with learned steps, the budget is below what the narrowest widths cost, the
            range is empty or has one width, or kappa or steps is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        budget: float,
        *,
        steps: int,
        least: int = 2,
        most: int = 8,
        kappa: float = 1.0,
        rescaling: str = "rescale",
    ) -> None:
        """Find the quantizers and start from their widths."""
        self.space = space = SearchSpace.of(model, least, most)
        space.limit(budget)
        if least == most:
            raise ValueError(f"the range of widths is {least} to {most}: a search needs two widths")
        if not (math.isfinite(kappa) and kappa > 0):
            raise ValueError(f"kappa is {kappa!r}, expected a positive number")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps is {steps!r}, expected the number of exploration steps, at least 1")
        self.budget, self.steps, self.kappa, self.rescaling = budget, steps, kappa, rescaling
        self._model, self._done, self._trace = model, 0, []
        layers = {name: model.get_submodule(name) for name in space.sizes}
        self._quantizers = {name: _quantizers(layer) for name, layer in layers.items()}
        start = [[q.bits for q in pair] for pair in self._quantizers.values()]
        device = next(iter(layers.values())).weight.device
        self.values = nn.Parameter(torch.tensor(start, dtype=torch.float32, device=device))
        sizes = torch.tensor(list(space.sizes.values()), dtype=torch.float32, device=device)
        self._shares = sizes / sizes.sum()
        self._peak = min(4 * (most - least) / steps, _MOST_A_STEP)
        self._optimizer = torch.optim.Adam([self.values])
        self._settle()

    @property
    def fractional(self) -> dict[str, tuple[float, float]]:
        """The fractional widths now, of weights and inputs."""
        return {name: (pair[0], pair[1]) for name, pair in zip(self.space.sizes, self.values.tolist(), strict=True)}

    @property
    def finished(self) -> bool:
        """Whether the search is over and the model has its integer widths."""
        return self._done == self.steps

    def average(self) -> Tensor:
        """Expected BitOPs over the number of weights, zero-dimensional; the widths take its gradient."""
        return (self._shares * self.values[:, 0] * self.values[:, 1]).sum()

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Interpolate in every forward pass inside the `with` block; the backward pass may be inside too."""
        with ExitStack() as stack:
            for row, pair in enumerate(() if self.finished else self._quantizers.values()):
                for side, quantizer in enumerate(pair):
                    stack.callback(quantizer.register_forward_hook(self._interpolation(row, side)).remove)
            yield

    def step(self, loss: Tensor | float, evaluate: Callable[[], Tensor] | None = None) -> None:
        """Move the widths, after the backward pass of `loss`; the last call rounds them to the budget.

        Args:
            loss: the task loss of the pass inside `observe`; its gradient is with the widths already.
            evaluate: not needed, since gradients replace further passes.

        Raises:
            FloatingPointError: if the loss is not finite: its gradient would make every width that.
        """
        if self.finished:
            return
        value = loss.item() if isinstance(loss, Tensor) else float(loss)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the training loss is {value} at exploration step {self._done}, so widths have no gradient. Lower the "
                "learning rate"
            )
        (self.kappa * (self.average() / self.budget - 1).abs()).backward()
        self._optimizer.param_groups[0]["lr"] = self._peak * (1 - self._done / self.steps)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._done += 1
        self._settle()
        self._trace.append([self._done, *(round(mean, 4) for mean in self._means())])
        if self.finished:
            set_widths(self._model, round_to_budget(self.fractional, self.space, self.budget), self.rescaling)

    def state(self) -> dict[str, Any]:
        """Everything that a step changes, JSON-able and exact; steps and integers are in the model's state dict."""
        moments = {key: value.tolist() for key, value in self._optimizer.state[self.values].items()}
        values = self.values.tolist()
        return {"done": self._done, "values": values, "moments": moments, "trace": [list(row) for row in self._trace]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`, bit for bit; the model must have its state dict of that moment already.

        Raises:
            ValueError: the state has other layers than the model.
        """
        if len(state["values"]) != len(self.values):
            raise ValueError(
                f"the state has widths of {len(state['values'])} layers and the model has {len(self.values)}: give the "
                "model that it was saved with"
            )
        with torch.no_grad():
            self.values.copy_(torch.tensor(state["values"]))
        for key, value in state["moments"].items():
            # Adam's step counter is a tensor on the processor, its moments lie where the widths are.
            place = "cpu" if key == "step" else self.values.device
            self._optimizer.state[self.values][key] = torch.tensor(value, dtype=torch.float32, device=place)
        self._done, self._trace = state["done"], [list(row) for row in state["trace"]]
        if not self.finished:
            self._settle()

    def report(self) -> dict[str, Any]:
        """What was found, JSON-able.

        Returns:
            `steps` and `planned_steps`; `ended`: always "budget", the search takes all of its steps; `widths`: layer to
            [weight bits, input bits]; `mean_weights` and `mean_activations`, over the layers without regard to their
            sizes; `trace`: `[step, mean weight width, mean activation width, mean bits squared per weight]` of the
            fractional widths after every step, rounded to four decimals.
        """
        widths = {name: [pair[0].bits, pair[1].bits] for name, pair in self._quantizers.items()}
        return {
            "steps": self._done,
            "planned_steps": self.steps,
            "ended": "budget",
            "widths": widths,
            "mean_weights": sum(w for w, _ in widths.values()) / len(widths),
            "mean_activations": sum(a for _, a in widths.values()) / len(widths),
            "trace": self._trace,
        }

    def _means(self) -> tuple[float, float, float]:
        with torch.no_grad():
            weights, inputs = self.values.mean(0).tolist()
            return weights, inputs, float(self.average())

    def _settle(self) -> None:
        """Keep widths in the range and every quantizer at the integer below its own."""
        with torch.no_grad():
            self.values.clamp_(self.space.least, self.space.most)
        for pair, widths in zip(self._quantizers.values(), self.values.tolist(), strict=True):
            for quantizer, width in zip(pair, widths, strict=True):
                bits = min(math.floor(width), self.space.most - 1)
                if bits != quantizer.bits:
                    quantizer.change_bits(bits, self.rescaling)

    def _interpolation(self, row: int, side: int) -> Any:
        def after(quantizer: LSQQuantizer, arguments: tuple[Tensor], lower: Tensor) -> Tensor:
            upper = quantizer.forward_at(arguments[0], quantizer.bits + 1, self.rescaling)
            return torch.lerp(lower, upper, (self.values[row, side] - quantizer.bits).to(lower.dtype))

        return after


def _quantizers(layer: QuantLinear) -> tuple[LSQQuantizer, LSQQuantizer]:
    return layer.weight_quantizer, layer.input_quantizer
