"""Figures of the chapter on weights: distances layer by layer, and histograms."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq_book.chapters.geometry import WORDS
from xtcq_book.labels import MATRICES
from xtcq_book.plots import or_nothing

_TITLES = {"latent": "latent weights", "binary": "binary weights"}


@or_nothing
def distances(frame: pd.DataFrame) -> Figure:
    """Distance from full precision along the layers, six points a layer and run; rows are tasks.

    Args:
        frame: distances of ``geometry.measure``.

    Returns:
        The figure: latent weights on the left, binary weights on the right with what rounding does before training.
    """
    frame = frame[frame["matrix"] != WORDS]
    tasks, runs = frame["task"].unique(), frame["run"].unique()
    figure, grid = plt.subplots(
        len(tasks), 2, squeeze=False, layout="constrained", figsize=(7.2, 2.7 * len(tasks) + 0.5)
    )
    # Matrices of a layer stand side by side, in the order in which data flow through them.
    offsets = dict(zip(MATRICES.values(), np.linspace(-0.3, 0.3, len(MATRICES)), strict=True))
    for (left, right), task in zip(grid, tasks, strict=True):
        of_task = frame[frame["task"] == task]
        for axes, kind in ((left, "latent"), (right, "binary")):
            for name, colour, marker in zip(runs, sns.color_palette("colorblind"), "os^Dvp", strict=False):
                points = of_task[of_task["run"] == name]
                where = points["layer"] + points["matrix"].map(offsets)
                axes.plot(where, 100 * points[f"relative {kind}"], marker, color=colour, markersize=4, label=name)
            axes.set(title=f"{task}, {_TITLES[kind]}", xlabel="layer", ylabel="distance (% of the norm)")
            axes.set_xticks(range(1, of_task["layer"].max() + 1))
        start = of_task[of_task["run"] == of_task["run"].iloc[0]]
        where = start["layer"] + start["matrix"].map(offsets)
        right.plot(where, 100 * start["relative untrained"], "_", color="grey", markersize=7, label="without training")
    _legend(figure, grid[0, 1])
    return figure


@or_nothing
def histograms(shapes: pd.DataFrame) -> Figure:
    """Histograms of latent and binary weights of the first task's runs; matrices of layers above, word embedding below.

    Args:
        shapes: histograms of ``geometry.measure``.

    Returns:
        The figure. The first run is filled, the others are lines over it.
    """
    task = shapes["task"].iloc[0]
    of_task = shapes[shapes["task"] == task]
    figure, grid = plt.subplots(2, 2, squeeze=False, sharex="col", layout="constrained", figsize=(7.2, 5.0))
    for part, row in zip(("matrices", WORDS), grid, strict=True):
        for kind, axes in zip(_TITLES, row, strict=True):
            chosen = of_task[(of_task["part"] == part) & (of_task["weights"] == kind)]
            for name, colour in zip(of_task["run"].unique(), sns.color_palette("colorblind"), strict=False):
                bars = chosen[chosen["run"] == name]
                edges = [*bars["left"], bars["right"].iloc[-1]]
                first = name == of_task["run"].iloc[0]
                axes.stairs(bars["share"], edges, fill=first, color=colour, alpha=0.5 if first else 1, label=name)
            axes.set(title=f"{part}, {_TITLES[kind]}", ylabel="share of the weights (%)")
    for axes, kind in zip(grid[1], _TITLES, strict=True):
        axes.set_xlabel("value of a weight")
        axes.locator_params(axis="x", nbins=5)
        filled = of_task[(of_task["weights"] == kind) & (of_task["share"] > 0)]
        axes.set_xlim(1.1 * filled["left"].min(), 1.1 * filled["right"].max())
    figure.suptitle(task)
    _legend(figure, grid[0, 0])
    return figure


def _legend(figure: Figure, axes: plt.Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
