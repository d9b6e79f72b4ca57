"""A forward pass again, from the first layer that something changed in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from xtcq.quantization import find_encoder


class Replay:
    """Remembers what enters every encoder layer in one pass, so that another pass can begin at any of them.

    The other pass is the model's own forward: embeddings and layers before the beginning hand out what they gave in the
    first pass, and random numbers are drawn from where the first pass had arrived there. So it is equal to a whole
    pass with the same dropout masks, to the bit, whatever head the model has.

    Args:
        model: a model that holds one BertModel.

    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> from xtcq import Replay
    >>> sizes = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> model, ids = BertModel(BertConfig(num_hidden_layers=3, **sizes)), torch.tensor([[1, 2, 3]])
    >>> replay = Replay(model)
    >>> with replay.recording():
    ...     first = model(ids).last_hidden_state
    >>> with replay.from_layer(2):  # the last layer alone, with the dropout masks of the first pass
    ...     torch.equal(model(ids).last_hidden_state, first)
    True
    """

    def __init__(self, model: nn.Module) -> None:
        encoder = find_encoder(model)[1]
        self.embeddings = encoder.embeddings
        self.layers = list(encoder.encoder.layer)
        self._points: list[tuple[Tensor, list[Tensor]]] = []

    def position(self, module: nn.Module) -> int:
        """Index of the encoder layer that ``module`` is in; the number of layers for what comes after them."""
        inside = (i for i, layer in enumerate(self.layers) if any(module is other for other in layer.modules()))
        return next(inside, len(self.layers))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember the pass that runs inside, and forget the one before."""
        self.forget()
        with ExitStack() as stack:
            for layer in self.layers:
                stack.callback(layer.register_forward_pre_hook(self._enter).remove)
            stack.callback(self.layers[-1].register_forward_hook(self._leave).remove)
            yield

    @contextmanager
    def from_layer(self, start: int) -> Iterator[None]:
        """Let the pass inside begin at layer ``start``; the random state afterwards is that before.

        Args:
            start: 0 to the number of layers; 0 skips the embeddings, the number of layers leaves pooler and head.

        Raises:
            RuntimeError: no pass was remembered.
        """
        if len(self._points) <= len(self.layers):
            raise RuntimeError(
                "no forward pass was remembered: run the model inside recording(), or inside observe() of AdaQAT, first"
            )
        hidden, random = self._points[start]
        with ExitStack() as stack:
            stack.callback(_set_random_state, hidden.device, _random_state(hidden.device))
            for module in (self.embeddings, *self.layers[:start]):
                module.forward = lambda *args, **kwargs: hidden
                stack.callback(delattr, module, "forward")
            _set_random_state(hidden.device, random)
            yield

    def forget(self) -> None:
        """Free what was remembered."""
        self._points = []

    def _enter(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._points.append((inputs[0].detach(), _random_state(inputs[0].device)))

    def _leave(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._points.append((output.detach(), _random_state(output.device)))


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states if device.type == "cpu" else [*states, torch.get_device_module(device).get_rng_state()]


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])
