"""The order in which runs are worth their time: first what decides a claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from xtcq.study.experiment import Experiment


def by_value(grids: Sequence[Sequence[Experiment]], score: Callable[[Experiment], float | None]) -> list[Experiment]:
    """Sort the runs of several grids by what they decide.

    Runs that differ in learning rate and seed alone are a cell: a comparison takes each of its sides at its best rate,
    over several seeds. Grid after grid comes one seed of the three rates in the middle, and of one further out as long
    as the best is at the edge of what was tried; then the other seeds at each cell's best rate. After that of all grids
    come the seeds at the two rates beside the best, and then what is left.

    Args:
        grids: the most important first.
        score: of a finished run, the primary metric in per cent; None of one that is not finished.

    Returns:
        All experiments, once each.
    """
    keys: dict[Experiment, tuple[int, int, int]] = {}
    for number, grid in enumerate(grids):
        cells: dict[Experiment, list[Experiment]] = defaultdict(list)
        for experiment in grid:
            cells[_cell(experiment)].append(experiment)
        for cell in cells.values():
            tried, best = _sweep({e.learning_rate: score(e) for e in cell if e.seed == cell[0].seed})
            for experiment in cell:
                place = experiment.learning_rate
                if experiment.seed == cell[0].seed:
                    rank = 0 if place in tried else 3
                else:
                    rank = 3 if best is None or place not in tried else min(1 + abs(tried.index(place) - best), 3)
                # The first two ranks decide the grid's own comparisons; the others wait for those of all grids.
                key = (0, number, rank) if rank < 2 else (rank, number, 0)
                keys[experiment] = min(key, keys.get(experiment, key))
    return sorted(keys, key=keys.__getitem__)


@cache
def _cell(experiment: Experiment) -> Experiment:
    return replace(experiment, learning_rate=1.0, seed=0)


def _sweep(scores: dict[float, float | None]) -> tuple[list[float], int | None]:
    """Rates that a sweep tries, by size, and which of them is the best; None while that is not known."""
    rates = sorted(scores)
    low = max(0, (len(rates) - 3) // 2)
    high = min(len(rates), low + 3)
    while True:
        tried = rates[low:high]
        known = [score for rate in tried if (score := scores[rate]) is not None]
        if len(known) < len(tried):
            return tried, None
        best = known.index(max(known))
        if best == 0 and low > 0:
            low -= 1
        elif best == len(tried) - 1 and high < len(rates):
            high += 1
        else:
            return tried, best
