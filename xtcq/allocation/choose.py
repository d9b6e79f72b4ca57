"""Choose widths before training, as the settings say."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from xtcq.allocation.baselines import random
from xtcq.allocation.program import cheapest
from xtcq.allocation.sensitivity import sensitivities
from xtcq.allocation.settings import Allocation
from xtcq.allocation.space import SearchSpace
from xtcq.quantization import Widths


def choose_widths(
    settings: Allocation, space: SearchSpace, model: nn.Module, batches: Iterable[Mapping[str, Tensor]]
) -> tuple[Widths, dict[str, Any]]:
    """Choose the widths of every layer by a method that does not explore.

    Args:
        settings: method and budget.
        space: the layers; the range is that of the settings.
        model: full-precision model, fine-tuned, in which the layers have the names of ``space``; only a sensitivity
            looks at it.
        batches: training data, for a sensitivity.

    Returns:
        The widths, and a report: ``steps`` (optimizer steps taken, 0), ``passes`` (forward passes and backward passes
        over a batch), ``seconds``, ``widths``, ``mean_weights`` and ``mean_activations`` (over the layers without
        regard to their sizes).

    Raises:
        ValueError: the method explores, or what the method raises.
    """
    if settings.explores:
        raise ValueError(f"method {settings.method!r} learns widths in training: it cannot choose them before")
    started = time.perf_counter()
    passes = 0
    if settings.method == "random":
        widths = random(space, settings.budget, settings.seed)
    else:
        batches = list(batches)
        costs = sensitivities(model, batches, space, settings.metric, settings.probes, settings.seed)
        # A forward and a backward pass a batch; every sign vector of the Hessian is one more backward pass.
        passes = len(batches) * (2 + settings.probes * (settings.metric == "hessian"))
        widths = cheapest(costs, space, settings.budget)
    return widths, {
        "steps": 0,
        "passes": passes,
        "seconds": time.perf_counter() - started,
        "widths": {name: list(pair) for name, pair in widths.items()},
        "mean_weights": sum(w for w, _ in widths.values()) / len(widths),
        "mean_activations": sum(a for _, a in widths.values()) / len(widths),
    }
