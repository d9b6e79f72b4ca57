"""Searches for bit-widths that run beside training steps."""

from __future__ import annotations

from torch import nn

from xtcq.adaqat import AdaQAT, AdaQATSettings
from xtcq.allocation import Allocation, FracBits

SearchSettings = AdaQATSettings | Allocation
Search = AdaQAT | FracBits


def begin_search(settings: SearchSettings, model: nn.Module, steps: int) -> Search:
    """Return the controller that moves a model's widths beside its training steps.

    Args:
        settings: of AdaQAT, or an allocation that explores.
        model: quantized by recipe ``adaqat``.
        steps: length of the exploration in optimizer steps.

    Returns:
        The controller, at the model's own widths.

    Raises:
        ValueError: the allocation chooses widths without training, besides what the controller raises.
    """
    if isinstance(settings, AdaQATSettings):
        return AdaQAT(model, settings, steps=steps)
    if not settings.explores:
        raise ValueError(
            f"method {settings.method!r} chooses widths before training: call allocate, and train plainly."
        )
    return FracBits(
        model,
        settings.budget,
        steps=steps,
        least=settings.least,
        most=settings.most,
        kappa=settings.kappa,
        rescaling=settings.steps,
    )
