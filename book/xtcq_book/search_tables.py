"""What a search for bit-widths can find in its steps: two tables of the chapters that learn widths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from xtcq.adaqat import ACTIVATIONS, GRANULARITIES, THRESHOLD, WEIGHTS, WidthSearch
from xtcq.study import Experiment
from xtcq.study.regime import exploration_steps, judged, needed_steps, search_settings, start_widths

NEEDS = (2, 3, 4)
# What a bit less than the need costs in a planted search, in units of the loss; half a nat is one bad answer in a few.
RISE = 0.5


def resolution(experiments: Iterable[Experiment]) -> pd.DataFrame:
    """What the steps of each search are enough for; several of one length and one kind of search are one row.

    Returns:
        Indexed by the number of ``exploration steps`` and the ``granularity``: how many ``widths`` that is, the steps
        that it ``needs``, the ``finest`` granularity that the steps are enough for ("none" if not even the network's),
        and ``updates a width`` if all get equally many.
    """
    rows = {}
    for experiment in experiments:
        if experiment.adaqat is None:
            continue
        steps, name = exploration_steps(experiment), experiment.adaqat.granularity
        # With the paper's threshold, whatever they have.
        threshold = max(experiment.adaqat.oscillations, THRESHOLD)
        needs = {g: needed_steps(experiment, granularity=g, oscillations=threshold) for g in GRANULARITIES}
        fitting = [other for other in GRANULARITIES if needs[other] <= steps]
        search = start_widths(experiment, experiment.adaqat)
        widths = 2 * len(search.sizes)
        rows[steps, name] = {
            "widths": widths,
            "needs": needs[name],
            "finest": (*fitting, "none")[0],
            "updates a width": steps if search.together else steps / widths,
        }
    return pd.DataFrame(list(rows.values()), _index(rows))


def explore(search: WidthSearch, needs: dict[tuple[str, int], int], steps: int, rise: float = RISE) -> WidthSearch:
    """Run a search, in place, on a loss that is known: it rises by `rise` for every bit that a width lacks to its need.

    Widths that are not updated together take turns, since there are no tensors whose error could be compared.
    """
    for step in range(steps):
        if search.finished:
            break
        free = search.candidates()
        chosen = free if search.together else [free[step % len(free)]]
        search.update({one: -rise if search[one].bits <= needs[one] else 0.0 for one in chosen})
    return search


def planted(experiments: Iterable[Experiment]) -> pd.DataFrame:
    """What the search of each experiment finds where the need is known, see `explore`.

    Returns:
        Indexed as by `resolution`; one column for every planted need of 2, 3 and 4 bits of ``weights`` (with
        activations that need 4) and of ``activations`` (with weights that need 2): the mean width found. The last
        column is ``in regime``: ``yes`` if all six searches lacked nothing of the paper's, else ``no``.
    """
    cases = [(role, need) for role in (WEIGHTS, ACTIVATIONS) for need in NEEDS]
    rows = {}
    for experiment in experiments:
        if experiment.adaqat is None or (exploration_steps(experiment), experiment.adaqat.granularity) in rows:
            continue
        steps, found, lacked = exploration_steps(experiment), [], []
        settings = search_settings(experiment)
        for role, need in cases:
            search = start_widths(experiment, settings)
            bits = {WEIGHTS: 2, ACTIVATIONS: 4} | {role: need}
            needs = {(side, group): bits[side] for side in bits for group in range(len(search.sizes))}
            explore(search, needs, steps)
            sides = {side: getattr(search, side) for side in (WEIGHTS, ACTIVATIONS)}
            frozen = {side: [width.frozen for width in widths] for side, widths in sides.items()}
            report = {"eta": search.eta, "planned_steps": steps, "updates": search.updates(), "frozen": frozen}
            lacked += judged(experiment, report)["departures"]
            found.append(sum(width.bits for width in getattr(search, role)) / len(search.sizes))
        rows[steps, experiment.adaqat.granularity] = [*found, "no" if lacked else "yes"]
    columns = pd.MultiIndex.from_tuples([*((role, f"needs {need}") for role, need in cases), ("in regime", "")])
    return pd.DataFrame(list(rows.values()), _index(rows), columns)


def _index(rows: Iterable[tuple[int, str]]) -> pd.MultiIndex:
    places: list[Any] = list(zip(*rows, strict=True)) or [[], []]  # no tuples, no levels
    return pd.MultiIndex.from_arrays(places, names=["exploration steps", "granularity"])
