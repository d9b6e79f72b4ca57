"""The controller of an exploration: it moves the bit-widths of a model while the model trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xtcq.adaqat.replay import Replay
from xtcq.adaqat.settings import ENDS, AdaQATSettings, begin, held, partition
from xtcq.adaqat.widths import ACTIVATIONS, ROLES, WEIGHTS, Coordinate
from xtcq.checks import check_integer
from xtcq.quantization import LSQQuantizer, QuantLinear, get_widths, learned_steps


class AdaQAT:
    """Learns bit-widths beside the training of the weights (AdaQAT-BERT, sections 3.1 to 3.3).

    Every step takes the training forward pass as L(U), and per width that it moves one more forward pass, without
    gradient, for L(D): the loss with that width one bit lower, U - 1. That is the floor of Equation 4 wherever N is no
    whole number; where it is one, floor and ceiling are the same, the difference of Equation 4 would always be 0, and
    U - 1 is the published code's choice too. At the lower bound the pass still runs at one bit less, so that a width
    that is needed bounces off; at one bit there is nothing less, and only the hardware loss counts.

    With ``settings.paired`` the second pass has the dropout masks of the first, begins at the encoder layer that it
    changes, and leaves the random state as the first pass left it. Without, it is a whole pass with masks of its own.
    Before the first paired step one pass, of pooler and head alone, is taken with nothing narrower: its loss has to be
    L(U), or the two cannot be compared.
    Layers that share a width (``AdaQATSettings.granularity``) lose the bit together, and the pass begins at the first
    of them.

    Args:
        model: quantized by recipe ``adaqat``, weights and activations; its widths are the start.
        settings: the paper's by default.
        steps: planned length of the exploration, in optimizer steps; `report` tells it, and who calls ``step`` stops.
        state: a ``state`` to go on from, bit for bit; the model must have its state dict of that moment already.

    Raises:
        ValueError: nothing is quantized, or not with learned steps; the start is out of the range, or not one pair of
            widths for layers that share them; steps not positive; the state has other layers or widths than the model.

    >>> import torch
    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> from xtcq import AdaQAT, AdaQATSettings, QuantConfig, quantize
    >>> sizes = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> model = BertForSequenceClassification(BertConfig(num_hidden_layers=1, **sizes))
    >>> model = quantize(model, QuantConfig("4-4-4", "adaqat"))
    >>> batch = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.tensor([1])}
    >>> adaqat = AdaQAT(model, AdaQATSettings(granularity="network"), steps=1000)
    >>> for _ in range(3):
    ...     with adaqat.observe():
    ...         loss = model(**batch).loss
    ...         loss.backward()
    ...     adaqat.step(loss, lambda: model(**batch).loss)  # and then the optimizer's step
    >>> [entry[:3] for entry in adaqat.report()["trace"]]  # step, role, group; each with its fractional width
    [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0], [2, 1, 0]]
    """

    def __init__(
        self,
        model: nn.Module,
        settings: AdaQATSettings | None = None,
        *,
        steps: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Find the quantizers and start from their widths."""
        self.settings = settings = settings or AdaQATSettings()
        check_integer("steps", steps, 1, remedy=": the number of exploration steps")
        layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantLinear)}
        learned = learned_steps(model)
        if not layers:
            raise ValueError(
                f"nothing of {type(model).__name__} is quantized: call quantize(model, QuantConfig('4-4-4', 'adaqat')) "
                "first"
            )
        if lacking := [name for name in layers if name not in learned]:
            raise ValueError(
                f"{lacking[0]} of {type(model).__name__} does not learn the steps of both its weight and its input: "
                "quantize weights and activations by recipe 'adaqat'"
            )
        self._learned = dict(zip(ROLES, zip(*learned.values(), strict=True), strict=True))
        self.names = list(layers)
        self.steps = steps
        self._model = model
        self._layers = list(layers.values())
        self._replay = Replay(model)
        self._held = held(len(layers), settings)
        self.groups = partition(self.names, settings.granularity)
        for role, layer in self._held if state is None else ():
            self._learned[role][layer].change_bits(ENDS, "rescale")
        start = {name: pair for name, pair in get_widths(model).items() if name in layers}
        for layer, (name, pair) in enumerate(start.items()):
            learning = [bits for role, bits in zip(ROLES, pair, strict=True) if (role, layer) not in self._held]
            if not all(settings.least <= bits <= settings.most for bits in learning):
                raise ValueError(
                    f"{name} starts with {pair} bits, and widths shall be from {settings.least} to {settings.most}: "
                    "quantize with a precision within that range, or widen it"
                )
        sizes = {name: layer.numel for name, layer in layers.items()}
        self.widths = begin(settings, start, sizes)
        if state is not None:
            self._load(state)
        self._errors: dict[int, Tensor] = {}
        self._observed = self._compared = False

    @property
    def finished(self) -> bool:
        """Whether all widths are frozen."""
        return self.widths.finished

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Surround the training forward pass whose loss ``step`` is given; the backward pass may be inside too."""
        self._errors, self._observed = {}, True
        with ExitStack() as stack:
            if self.settings.paired and not self.finished:
                stack.enter_context(self._replay.recording())
            for role, group in self._ranked():
                for layer in self._movable(role, group) if role == ACTIVATIONS else ():
                    hook = self._layers[layer].register_forward_pre_hook(partial(self._measure, layer))
                    stack.callback(hook.remove)
            yield

    def step(self, loss: Tensor | float, evaluate: Callable[[], Tensor]) -> None:
        """Move the widths of this step; before the optimizer changes the weights.

        Where gradients are accumulated, observe the last of the small batches and give its own loss, not the part of
        the sum that is differentiated: the two losses that are compared have to be of one batch and one scale.

        Args:
            loss: L(U), of the pass inside ``observe``.
            evaluate: runs the model once more on the same batch and returns the loss; called without gradient, once
                for every width that moves and, with ``settings.paired``, once more at the first step.

        Raises:
            FloatingPointError: L(U) is not finite.
            RuntimeError: ``observe`` was not entered for this step.
            ValueError: at the first step, ``evaluate`` gives another loss although no width has changed.
        """
        if self.finished:
            return
        upper = loss.item() if isinstance(loss, Tensor) else float(loss)
        if not math.isfinite(upper):
            raise FloatingPointError(
                f"the training loss is {upper} at exploration step {self.widths.step}, so widths cannot be compared. "
                "Lower the learning rate"
            )
        if not self._observed:
            raise RuntimeError("no forward pass was observed: run the training pass inside `with adaqat.observe():`")
        if self.settings.paired and not self._compared:
            self._compare(upper, evaluate)
        differences = {chosen: self._difference(chosen, upper, evaluate) for chosen in self._chosen()}
        self.widths.update(differences)
        for chosen in differences:
            for quantizer in self._quantizers(chosen):
                if quantizer.bits != self.widths[chosen].bits:
                    quantizer.change_bits(self.widths[chosen].bits, self.settings.steps)
        self._replay.forget()
        self._errors, self._observed = {}, False

    def state(self) -> dict[str, Any]:
        """Everything that a step changes, JSON-able; the bit-widths in use are in the model's state dict."""
        return self.widths.state()

    def _load(self, state: Mapping[str, Any]) -> None:
        if any(len(state[role]) != len(self.groups) for role in ROLES):
            raise ValueError(
                f"the state has {len(state[WEIGHTS])} weight widths, {type(self._model).__name__} has "
                f"{len(self.groups)}: give the settings and the model that it was saved with"
            )
        self.widths.load_state(state)
        for role in ROLES:
            for group, width in enumerate(getattr(self.widths, role)):
                for layer in self._movable(role, group):
                    found = self._learned[role][layer].bits
                    if found != width.bits:
                        raise ValueError(
                            f"the state says {width.bits} bits for the {role} of {self.names[layer]} and the model has "
                            f"{found}: load the state dict that was saved with it first"
                        )

    def report(self) -> dict[str, Any]:
        """What was found, JSON-able.

        Returns:
            ``granularity``; ``groups``: names of the layers that share a width; ``eta`` and ``reach``, see
            ``WidthSearch``; ``steps`` (taken) and ``planned_steps``; ``updates``: by role, how often each width was
            moved; ``ended``: "frozen" where all widths froze, else "budget"; ``widths``: layer to [weight bits,
            activation bits]; ``mean_weights`` and ``mean_activations``, over the layers without regard to their sizes,
            as AdaQAT-BERT prints them; ``oscillations`` and ``frozen``: by role, a number or a truth value for every
            learned width; ``trace``: ``[step, role, group, N]`` of every update, with role 0 for weights and 1 for
            activations, and N rounded to four decimals.
        """
        bits = [[self._learned[role][layer].bits for role in ROLES] for layer in range(len(self.names))]
        return {
            "granularity": self.settings.granularity,
            "groups": [[self.names[layer] for layer in group] for group in self.groups],
            "eta": self.widths.eta,
            "reach": self.widths.reach,
            "steps": self.widths.step,
            "planned_steps": self.steps,
            "updates": self.widths.updates(),
            "ended": "frozen" if self.finished else "budget",
            "widths": dict(zip(self.names, bits, strict=True)),
            "mean_weights": sum(w for w, _ in bits) / len(bits),
            "mean_activations": sum(a for _, a in bits) / len(bits),
            "oscillations": {role: [sum(width.counts) for width in getattr(self.widths, role)] for role in ROLES},
            "frozen": {role: [width.frozen for width in getattr(self.widths, role)] for role in ROLES},
            "trace": [[*entry[:3], round(entry[3], 4)] for entry in self.widths.trace],
        }

    def _movable(self, role: str, group: int) -> list[int]:
        """Layers of a group whose weights or inputs the width of that group is for."""
        return [layer for layer in self.groups[group] if (role, layer) not in self._held]

    def _quantizers(self, coordinate: Coordinate) -> list[LSQQuantizer]:
        return [self._learned[coordinate[0]][layer] for layer in self._movable(*coordinate)]

    def _ranked(self) -> list[Coordinate]:
        """Candidates that Equation 7 decides between."""
        return [] if self.widths.together or self.settings.order == "published" else self.widths.candidates()

    def _chosen(self) -> list[Coordinate]:
        ranked, candidates = self._ranked(), self.widths.candidates()
        if not ranked:
            return candidates if self.widths.together else candidates[:1]
        role = ranked[0][0]
        errors: dict[int, Tensor] = {}
        for _, group in ranked:
            layers = self._movable(role, group)
            if role == WEIGHTS:
                for layer in layers:
                    weight = self._layers[layer].weight
                    assert weight is not None  # only integers have none
                    self._errors[layer] = reduction_error(self._learned[role][layer], weight, self.settings.steps)
            errors[group] = reduce(torch.add, (self._errors[layer] for layer in layers)) / len(layers)
        # One reading of the device, however many layers there are.
        values = torch.stack(list(errors.values())).nan_to_num(nan=torch.inf)
        return [(role, list(errors)[int(values.argmin())])]

    def _measure(self, index: int, layer: QuantLinear, inputs: tuple[Tensor, ...]) -> None:
        self._errors[index] = reduction_error(self._learned[ACTIVATIONS][index], inputs[0], self.settings.steps)

    @torch.no_grad()
    def _compare(self, upper: float, evaluate: Callable[[], Tensor]) -> None:
        """Refuse two losses that cannot be compared; pooler and head alone run again for it."""
        with self._replay.from_layer(len(self._replay.layers)):
            again = float(evaluate())
        if not math.isclose(again, upper, rel_tol=0.02, abs_tol=1e-3):
            raise ValueError(
                f"evaluate() gives {again:.6g} with no width changed, and the loss of the step is {upper:.6g}: give "
                "both on the same batch by the same formula, a function of the model's logits. Where gradients are "
                "accumulated, differentiate the scaled loss and give step the loss itself"
            )
        self._compared = True

    @torch.no_grad()
    def _difference(self, chosen: Coordinate, upper: float, evaluate: Callable[[], Tensor]) -> float:
        quantizers = self._quantizers(chosen)
        if quantizers[0].bits == 1:
            return 0.0
        start = self._replay.position(self._layers[self._movable(*chosen)[0]])
        rerun = self._replay.from_layer(start) if self.settings.paired else nullcontext()
        with narrowed(quantizers, self.settings.steps), rerun:
            return upper - float(evaluate())


@contextmanager
def narrowed(quantizers: Iterable[LSQQuantizer], rescaling: str) -> Iterator[None]:
    """Take one bit from each quantizer, of two at least, for a while; then bits and step are as they were."""
    before = [(quantizer, quantizer.bits, quantizer.step.data) for quantizer in quantizers]
    try:
        for quantizer, bits, step in before:
            quantizer.step.data = step.clone()  # to go back to, since a factor and its inverse may not cancel
            quantizer.change_bits(bits - 1, rescaling)
        yield
    finally:
        for quantizer, bits, step in before:
            quantizer.bits, quantizer.step.data = bits, step


@torch.no_grad()
def reduction_error(quantizer: LSQQuantizer, x: Tensor, rescaling: str) -> Tensor:
    """Mean squared difference of ``x`` quantized at the quantizer's width and at one bit less (Equation 7).

    Args:
        quantizer: its step must be set; at one bit there is nothing less, and the difference is 0.
        x: any shape.
        rescaling: what becomes of the step size at one bit less, "keep" or "rescale".

    Returns:
        Scalar tensor on the device of ``x``.

    >>> import torch
    >>> from xtcq import LSQQuantizer
    >>> from xtcq.adaqat import reduction_error
    >>> quantizer, x = LSQQuantizer(3), torch.tensor([0.0, 3.0])
    >>> _ = quantizer(x)  # sets the step size
    >>> _ = quantizer.step.data.fill_(1.0)
    >>> float(reduction_error(quantizer, x, "keep"))  # the mean of 0 and (3 - 1)²: two bits end at one step
    2.0
    """
    if quantizer.bits == 1:
        return torch.zeros((), device=x.device)
    if rescaling == "rescale" or (quantizer.bits == 2 and quantizer.signed):
        return F.mse_loss(quantizer.forward_at(x, quantizer.bits - 1, rescaling), quantizer(x))
    # With the same step, the codes differ only where they exceed the narrower range.
    codes, step, _ = quantizer.encode(x)
    with narrowed([quantizer], rescaling):
        inside = codes.clamp(*quantizer.levels)
    return torch.linalg.vector_norm(codes.sub_(inside).mul_(step)).square() / x.numel()
