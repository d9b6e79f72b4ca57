"""Which layers share their widths, and where their widths start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xtcq.adaqat.settings import AdaQATSettings
from xtcq.adaqat.widths import ACTIVATIONS, PUBLISHED_ETA, ROLES, WEIGHTS, Coordinate, Width, WidthSearch

# Bits of the layers that Algorithm 1 holds.
ENDS = 8


def partition(names: Sequence[str], granularity: str) -> list[list[int]]:
    """Put layers that share a weight and an activation width into groups.

    Args:
        names: of the quantized linear layers, in the model's order.
        granularity: "layer": every layer alone. "kind": the same matrix of all encoder layers (query, key, value,
            attention output, intermediate, output). "block": all matrices of an encoder layer. "network": all. What is
            in no encoder layer, the pooler, is alone but for "network".

    Returns:
        Indices into ``names``, group by group, in the order of their first layers.

    >>> from xtcq.adaqat import partition
    >>> names = [f"encoder.layer.{i}.{matrix}" for i in range(2) for matrix in ("query", "key")]
    >>> partition([*names, "pooler.dense"], "kind")
    [[0, 2], [1, 3], [4]]
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        block, _, kind = name.partition("encoder.layer.")[2].partition(".")
        group = {"layer": name, "kind": kind or name, "block": block or name, "network": ""}[granularity]
        groups.setdefault(group, []).append(index)
    return list(groups.values())


def held(count: int, settings: AdaQATSettings) -> set[Coordinate]:
    """Return the sides of layers that keep 8 bits: with ``ends``, both of the first, and the weights of the last.

    Algorithm 1 quantizes the weights of both at 8 bits and the input of the last with the learned width. The input of
    the first it does not quantize at all; here it has 8 bits.
    """
    return {(WEIGHTS, 0), (ACTIVATIONS, 0), (WEIGHTS, count - 1)} if settings.ends else set()


def begin(settings: AdaQATSettings, start: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> WidthSearch:
    """Return the widths of a model before their first update.

    Args:
        settings: of the search.
        start: widths (weights, activations) of every quantized linear layer, in the model's order.
        sizes: number of weights of each.

    Raises:
        ValueError: layers of one group start with different widths.
    """
    names, kept = list(start), held(len(start), settings)
    groups = partition(names, settings.granularity)
    widths: dict[str, list[Width]] = {role: [] for role in ROLES}
    for side, role in enumerate(ROLES):
        for group in groups:
            found = {start[names[layer]][side] for layer in group if (role, layer) not in kept}
            if len(found) > 1:
                raise ValueError(
                    f"{names[group[0]]} and the {len(group) - 1} layers that share its width start with {role} of "
                    f"{' and '.join(map(str, sorted(found)))} bits, and granularity {settings.granularity!r} has one "
                    "width for them: quantize them uniformly, or use 'layer'"
                )
            widths[role].append(Width(float(found.pop())) if found else Width(float(ENDS), frozen=True))
    return WidthSearch(
        weights=widths[WEIGHTS],
        activations=widths[ACTIVATIONS],
        sizes=[sum(sizes[names[layer]] for layer in group) for group in groups],
        penalties={WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations},
        eta=settings.eta or PUBLISHED_ETA,
        least=settings.least,
        most=settings.most,
        oscillations=settings.oscillations,
        counts=settings.counts,
        pressure=settings.pressure,
        reach=settings.reach,
        together=settings.granularity == "network",
    )
