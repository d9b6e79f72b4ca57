"""Searches for bit-widths that run beside training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from xtcq.adaqat import AdaQAT, AdaQATSettings
from xtcq.allocation import Allocation, FracBits

SearchSettings = AdaQATSettings | Allocation
Search = AdaQAT | FracBits


def begin_search(
    settings: SearchSettings, model: nn.Module, steps: int, state: Mapping[str, Any] | None = None
) -> Search:
    """Return the controller that moves a model's widths beside its training steps.

    Args:
        settings: of AdaQAT, or an allocation that explores.
        model: quantized by recipe ``adaqat``.
        steps: length of the exploration in optimizer steps.
        state: of a controller, to go on from; the model has its widths of that moment.

    Returns:
        The controller, at the model's own widths.

    Raises:
        ValueError: the allocation chooses widths without training, besides what the controller raises.
    """
    if isinstance(settings, AdaQATSettings):
        return AdaQAT(model, settings, steps=steps, state=state)
    if not settings.explores:
        raise ValueError(
            f"method {settings.method!r} chooses widths before training: call allocate, and train plainly."
        )
    search = FracBits(
        model,
        settings.budget,
        steps=steps,
        least=settings.least,
        most=settings.most,
        kappa=settings.kappa,
        rescaling=settings.steps,
    )
    if state is not None:
        search.load_state(state)
    return search
