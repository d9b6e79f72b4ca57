"""Which layers share their widths, and whether a search for so many widths has the steps that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xtcq.adaqat.search import ACTIVATIONS, ROLES, THRESHOLD, UPDATES, WEIGHTS, Coordinate, Width, WidthSearch
from xtcq.adaqat.settings import GRANULARITIES, AdaQATSettings

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
        Indices into `names`, group by group, in the order of their first layers.
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        block, _, kind = name.partition("encoder.layer.")[2].partition(".")
        group = {"layer": name, "kind": kind or name, "block": block or name, "network": ""}[granularity]
        groups.setdefault(group, []).append(index)
    return list(groups.values())


def held(count: int, settings: AdaQATSettings) -> set[Coordinate]:
    """Return the sides of layers, by index, that keep 8 bits: with `ends`, both of the first, the weights of the last.

    Algorithm 1 quantizes the weights of both at 8 bits and the input of the last with the learned width. The input of
    the first it does not quantize at all; here it has 8 bits.
    """
    return {(WEIGHTS, 0), (ACTIVATIONS, 0), (WEIGHTS, count - 1)} if settings.ends else set()


def begin(
    settings: AdaQATSettings, start: Mapping[str, tuple[int, int]], sizes: Mapping[str, int], steps: int
) -> WidthSearch:
    """Return the search at its beginning, with the learning rate of `settings` or the smallest that suffices.

    Args:
        settings: of the search.
        start: widths (weights, activations) of every quantized linear layer, in the model's order.
        sizes: number of weights of each.
        steps: length of the exploration.

    Raises:
        ValueError: layers of one group start with different widths; `steps` are fewer than the search needs, see
            `WidthSearch.length`, or its threshold is below the paper's, and `settings.short` is not set.
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
    search = WidthSearch(
        **widths,
        sizes=[sum(sizes[names[layer]] for layer in group) for group in groups],
        penalties={WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations},
        least=settings.least,
        most=settings.most,
        oscillations=settings.oscillations,
        counts=settings.counts,
        pressure=settings.pressure,
        together=settings.granularity == "network",
    )
    search.eta = settings.eta or search.length().eta(steps)
    needed = search.length().steps(search.eta)
    if not settings.short and (steps < needed or settings.oscillations < THRESHOLD):
        raise ValueError(_refusal(settings, start, sizes, steps, needed))
    return search


def needed_steps(settings: AdaQATSettings, start: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> int:
    """Return the exploration steps that a search needs, at the rate of `settings` or else the greatest; as `begin`."""
    search = begin(replace(settings, short=True), start, sizes, steps=1)
    return search.length().steps(search.eta)


def departures(search: WidthSearch, planned: int, needed: int) -> list[str]:
    """Return what a search lacked of the paper's regime so far, in words; nothing if it lacked nothing.

    The paper's regime: a learning rate of at most 1 and no step above half a bit, which every search keeps; more than
    ten oscillations before a width freezes; and at the end all widths frozen, or all that are not updated twenty times
    or more in an exploration that was long enough to freeze them.

    Args:
        search: during or after the exploration.
        planned: length of the exploration in steps.
        needed: what the search needed at its beginning.
    """
    found = []
    if search.oscillations < THRESHOLD:
        found.append(f"widths froze after more than {search.oscillations} oscillations, in the paper after {THRESHOLD}")
    if search.finished:
        return found
    free = [
        count
        for role, updates in search.updates().items()
        for count, width in zip(updates, getattr(search, role), strict=True)
        if not width.frozen
    ]
    if planned < needed:
        found.append(f"{_were(len(free))} not frozen, and {needed} steps are needed where {planned} were planned")
    if few := sum(count < UPDATES for count in free):
        found.append(f"{_were(few)} updated less than {UPDATES} times")
    return found


def _were(count: int) -> str:
    return f"{count} widths were" if count > 1 else f"{count} width was"


def _refusal(
    settings: AdaQATSettings,
    start: Mapping[str, tuple[int, int]],
    sizes: Mapping[str, int],
    steps: int,
    needed: int,
) -> str:
    asked = "short=True explores all the same, and marks the result"
    if settings.oscillations < THRESHOLD:
        return (
            f"oscillations is {settings.oscillations}, and AdaQAT-BERT freezes a width after more than {THRESHOLD}: "
            f"raise it; {asked}"
        )
    uniform = len(set(start.values())) == 1  # otherwise no coarser granularity can begin
    coarser = GRANULARITIES[GRANULARITIES.index(settings.granularity) + 1 :] if uniform else ()
    needs = {name: needed_steps(replace(settings, granularity=name), start, sizes) for name in coarser}
    fit = ", ".join(f"{name!r} (needs {need})" for name, need in needs.items() if need <= steps)
    return (
        f"{2 * len(partition(list(start), settings.granularity))} widths of granularity {settings.granularity!r} need "
        f"{needed} exploration steps, and {steps} are planned: "
        + (f"choose granularity {fit}, or " if fit else "")
        + f"explore at least {needed} steps; {asked}"
    )
