"""The controller of an exploration: it moves the bit-widths of a model while the model trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xtcq.adaqat.replay import Replay
from xtcq.adaqat.search import ACTIVATIONS, ROLES, WEIGHTS, Coordinate, Width, WidthSearch, budget_eta
from xtcq.adaqat.selection import choose, narrowed, reduction_error
from xtcq.adaqat.settings import AdaQATSettings
from xtcq.quantization import LSQQuantizer, QuantLinear, get_widths


class AdaQAT:
    """Learns bit-widths beside the training of the weights (AdaQAT-BERT, sections 3.1 to 3.3).

    Every step takes the training forward pass as L(U), and per width that it moves one more forward pass, without
    gradient, for L(D): the loss with that width one bit lower, U - 1. That is the floor of Equation 4 wherever N is no
    whole number; where it is one, floor and ceiling are the same, the difference of Equation 4 would always be 0, and
    U - 1 is the published code's choice too. At the lower bound the pass still runs at one bit less, so that a width
    that is needed bounces off; at one bit there is nothing less, and only the hardware loss counts.

    With `settings.paired` the second pass has the dropout masks of the first, begins at the encoder layer that it
    changes, and leaves the random state as the first pass left it. Without, it is a whole pass with masks of its own.

        adaqat = AdaQAT(model, AdaQATSettings(), steps=1000)
        for batch in batches:
            with adaqat.observe():
                loss = model(**batch).loss
                loss.backward()
            adaqat.step(loss, lambda: model(**batch).loss)
            optimizer.step()

    Args:
        model: quantized by recipe `adaqat`, weights and activations; its widths are the start.
        settings: the paper's by default.
        steps: length of the exploration, for the rule that sets the learning rate of the widths (`budget_eta`).

    Raises:
        ValueError: nothing is quantized, or not with learned steps; the start is out of the range, or not one pair of
            widths for granularity "network"; steps not positive.
    """

    def __init__(self, model: nn.Module, settings: AdaQATSettings | None = None, *, steps: int) -> None:
        """Find the quantizers and start from their widths."""
        self.settings = settings = settings or AdaQATSettings()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps is {steps!r}, expected the number of exploration steps, at least 1")
        layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}
        start = {name: pair for name, pair in get_widths(model).items() if name in layers}
        _check(model, layers, start, settings)
        self.names = list(layers)
        self.steps = steps
        self._model = model
        self._layers = list(layers.values())
        self._replay = Replay(model)
        together = settings.granularity == "network"
        pairs = list(start.values())[:1] if together else list(start.values())
        sizes = [layer.weight.numel() for layer in self._layers]
        weights, activations = ([pair[i] for pair in pairs] for i in (0, 1))
        penalties = {WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations}
        rule = {
            "sizes": [sum(sizes)] if together else sizes,
            "penalties": penalties,
            "least": settings.least,
            "pressure": settings.pressure,
            "together": together,
        }
        eta = settings.eta or budget_eta(weights, activations, steps=steps, **rule)
        self.search = WidthSearch(
            weights=[Width(float(bits)) for bits in weights],
            activations=[Width(float(bits)) for bits in activations],
            eta=eta,
            most=settings.most,
            oscillations=settings.oscillations,
            counts=settings.counts,
            **rule,
        )
        self._errors: dict[int, Tensor] = {}

    @property
    def finished(self) -> bool:
        """Whether all widths are frozen."""
        return self.search.finished

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Surround the training forward pass whose loss `step` is given; the backward pass may be inside too."""
        self._errors = {}
        with ExitStack() as stack:
            if self.settings.paired and not self.finished:
                stack.enter_context(self._replay.recording())
            for role, layer in self._ranked():
                if role == ACTIVATIONS:
                    hook = self._layers[layer].register_forward_pre_hook(partial(self._measure, layer))
                    stack.callback(hook.remove)
            yield

    def step(self, loss: Tensor | float, evaluate: Callable[[], Tensor]) -> None:
        """Move the widths of this step; before the optimizer changes the weights.

        Args:
            loss: L(U), of the pass inside `observe`.
            evaluate: runs the model once more on the same batch and returns the loss; called without gradient.

        Raises:
            FloatingPointError: L(U) is not finite.
        """
        if self.finished:
            return
        upper = loss.item() if isinstance(loss, Tensor) else float(loss)
        if not math.isfinite(upper):
            raise FloatingPointError(
                f"the training loss is {upper} at exploration step {self.search.step}, so widths cannot be compared. "
                "Lower the learning rate"
            )
        differences = {chosen: self._difference(chosen, upper, evaluate) for chosen in self._chosen()}
        self.search.update(differences)
        for chosen in differences:
            for quantizer in self._quantizers(chosen):
                if quantizer.bits != self.search[chosen].bits:
                    quantizer.change_bits(self.search[chosen].bits, self.settings.steps)
        self._replay.forget()
        self._errors = {}

    def state(self) -> dict[str, Any]:
        """Everything that a step changes, JSON-able; the bit-widths in use are in the model's state dict."""
        return self.search.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`, bit for bit; the model must have its state dict of that moment already.

        Raises:
            ValueError: the state has other layers or widths than the model.
        """
        found = {role: [width["value"] for width in state[role]] for role in ROLES}
        if any(len(found[role]) != len(getattr(self.search, role)) for role in ROLES):
            raise ValueError(
                f"the state has {len(found[WEIGHTS])} weight widths, {type(self._model).__name__} has "
                f"{len(self.search.weights)}: give the settings and the model that it was saved with"
            )
        self.search.load_state(state)
        for role in ROLES:
            for layer, width in enumerate(getattr(self.search, role)):
                for quantizer in self._quantizers((role, layer)):
                    if quantizer.bits != width.bits:
                        raise ValueError(
                            f"the state says {width.bits} bits for the {role} of {self.names[layer]} and the model has "
                            f"{quantizer.bits}: load the state dict that was saved with it first"
                        )

    def report(self) -> dict[str, Any]:
        """What was found, JSON-able.

        Returns:
            `granularity`; `eta`; `steps` (updates made) and `planned_steps`; `ended`: "frozen" where all widths froze,
            else "budget"; `widths`: layer to [weight bits, activation bits]; `mean_weights` and `mean_activations`,
            over the layers without regard to their sizes, as AdaQAT-BERT prints them; `oscillations` and `frozen`: by
            role, a number or a truth value for every learned width; `trace`: `[step, role, layer, N]` of every update,
            with role 0 for weights and 1 for activations, and N rounded to four decimals.
        """
        widths = [self._layer_bits(layer) for layer in range(len(self.names))]
        search = self.search
        return {
            "granularity": self.settings.granularity,
            "eta": search.eta,
            "steps": search.step,
            "planned_steps": self.steps,
            "ended": "frozen" if self.finished else "budget",
            "widths": dict(zip(self.names, widths, strict=True)),
            "mean_weights": sum(w for w, _ in widths) / len(widths),
            "mean_activations": sum(a for _, a in widths) / len(widths),
            "oscillations": {role: [sum(width.counts) for width in getattr(search, role)] for role in ROLES},
            "frozen": {role: [width.frozen for width in getattr(search, role)] for role in ROLES},
            "trace": [[*entry[:3], round(entry[3], 4)] for entry in search.trace],
        }

    def _layer_bits(self, layer: int) -> list[int]:
        own = 0 if self.search.together else layer
        return [self.search[role, own].bits for role in ROLES]

    def _quantizers(self, coordinate: Coordinate) -> list[LSQQuantizer]:
        role, layer = coordinate
        layers = self._layers if self.search.together else [self._layers[layer]]
        return [one.weight_quantizer if role == WEIGHTS else one.input_quantizer for one in layers]

    def _ranked(self) -> list[Coordinate]:
        """Candidates that Equation 7 decides between."""
        candidates = [] if self.search.together or self.settings.order == "published" else self.search.candidates()
        return candidates if len(candidates) > 1 else []

    def _chosen(self) -> list[Coordinate]:
        ranked = self._ranked()
        if not ranked:
            candidates = self.search.candidates()
            return candidates if self.search.together else candidates[:1]
        role = ranked[0][0]
        if role == WEIGHTS:
            steps = self.settings.steps
            for _, i in ranked:
                layer = self._layers[i]
                self._errors[i] = reduction_error(layer.weight_quantizer, layer.weight, steps)
        return [(role, choose(self._errors))]

    def _measure(self, index: int, layer: QuantLinear, inputs: tuple[Tensor, ...]) -> None:
        self._errors[index] = reduction_error(layer.input_quantizer, inputs[0], self.settings.steps)

    @torch.no_grad()
    def _difference(self, chosen: Coordinate, upper: float, evaluate: Callable[[], Tensor]) -> float:
        quantizers = self._quantizers(chosen)
        if quantizers[0].bits == 1:
            return 0.0
        start = 0 if self.search.together else self._replay.position(self._layers[chosen[1]])
        rerun = self._replay.from_layer(start) if self.settings.paired else nullcontext()
        with narrowed(quantizers, self.settings.steps), rerun:
            return upper - float(evaluate())


def _check(
    model: nn.Module, layers: dict[str, QuantLinear], start: dict[str, tuple[int, int]], settings: AdaQATSettings
) -> None:
    kind = type(model).__name__
    if not layers:
        raise ValueError(f"nothing of {kind} is quantized: call quantize(model, QuantConfig('4-4-4', 'adaqat')) first")
    for name, layer in layers.items():
        quantizers = (layer.weight_quantizer, layer.input_quantizer)
        if not all(isinstance(quantizer, LSQQuantizer) for quantizer in quantizers):
            raise ValueError(
                f"{name} of {kind} does not learn the steps of both its weight and its input: quantize weights and "
                "activations by recipe 'adaqat'"
            )
        if not all(settings.least <= bits <= settings.most for bits in start[name]):
            raise ValueError(
                f"{name} starts with {start[name]} bits, and widths shall be from {settings.least} to {settings.most}: "
                "quantize with a precision within that range, or widen it"
            )
    if settings.granularity == "network" and len(set(start.values())) > 1:
        raise ValueError(
            f"{kind} starts with {len(set(start.values()))} different pairs of widths, and granularity 'network' has "
            "one: quantize it uniformly, or use 'layer'"
        )
