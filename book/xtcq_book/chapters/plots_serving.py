"""Figures of the chapters on serving and on benchmarks: speeds in comparison, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq_book.chapters.serving import BASELINE


def speed_bars(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """How many times as fast as PyTorch in fp32, one panel a kind of batch; lines reach from quartile to quartile.

    Args:
        tables: of ``serving.speeds``, by the panel's title.

    Returns:
        The figure.
    """
    ways = len(next(iter(tables.values())))
    figure, grid = plt.subplots(
        1, len(tables), squeeze=False, sharey=True, layout="constrained", figsize=(7.2, 0.4 * ways + 1.1)
    )
    colours = sns.color_palette("colorblind", ways)
    for axes, (title, table) in zip(grid.flat, tables.items(), strict=True):
        middle = table[f"× {BASELINE}"]
        spread = [middle - table["lower quartile"], table["upper quartile"] - middle]
        axes.barh(table.index, middle, xerr=spread, color=colours, error_kw={"ecolor": "black", "linewidth": 1})
        axes.axvline(1, color="grey", linestyle="--", linewidth=1)
        axes.set_title(title, fontsize="medium")
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
    grid[0, 0].invert_yaxis()
    figure.supxlabel(f"times as fast as {BASELINE}", fontsize="medium")
    return figure


def part_bars(times: pd.DataFrame) -> Figure:
    """Milliseconds of a batch by what they are spent on, one bar a graph.

    Args:
        times: of ``operators.parts``.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(layout="constrained", figsize=(7.2, 0.5 * len(times) + 1.6))
    colours = sns.color_palette("colorblind", len(times.columns))
    left = pd.Series(0.0, times.index)
    for colour, part in zip(colours, times.columns, strict=True):
        axes.barh(times.index, times[part], left=left, color=colour, label=part)
        left += times[part]
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("milliseconds a batch")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure
