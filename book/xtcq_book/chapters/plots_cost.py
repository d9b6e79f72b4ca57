"""Figures of the chapter on cost: scores over device hours, over steps and over sizes, one point a run."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from xtcq.distillation import PLANS
from xtcq.quantization import Precision
from xtcq_book.chapters.cost import DEVICE
from xtcq_book.plots import METRIC_LABELS, nothing, or_nothing


@or_nothing
def score_over_hours(frame: pd.DataFrame) -> Figure:
    """Best development score over device hours; a panel holds runs of one task whose times can be compared.

    A run whose time can be compared with no other is left out.

    Args:
        frame: of ``expense.to_frame``.

    Returns:
        The figure: colours are plans, marks are bits of the weights, a hollow mark has fewer layers.
    """
    panels = [
        (f"{task}\n{device}, {side_by_side} side by side", group)
        for (task, device, side_by_side), group in frame.groupby(["task", *DEVICE], sort=False)
        if len(group) > 1
    ]
    if not panels:
        return nothing("Nothing to draw: no two runs have times that can be compared.")
    return _panels(frame, panels, "hours", "device hours of training steps")


@or_nothing
def score_over_steps(frame: pd.DataFrame) -> Figure:
    """Best development score over optimizer steps, one panel a task; as `score_over_hours`."""
    return _panels(frame, list(frame.groupby("task", sort=False)), "steps", "optimizer steps")


@or_nothing
def score_over_size(frame: pd.DataFrame) -> Figure:
    """Best development score over packed size, one panel a task; as `score_over_hours`, with a line on the best runs.

    The line joins the runs that no smaller or equally small one beats.
    """
    panels = list(frame.groupby("task", sort=False))
    figure = _panels(frame, panels, "packed MiB", "packed size (MiB)")
    for axes, (_, group) in zip(figure.axes, panels, strict=False):
        front = group.sort_values(["packed MiB", "score"], ascending=[True, False])
        front = front[front["score"] > front["score"].cummax().shift(fill_value=float("-inf"))]
        axes.plot(front["packed MiB"], front["score"], color="grey", linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(group["packed MiB"].min() / 1.3, group["packed MiB"].max() * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


def _panels(frame: pd.DataFrame, panels: list[tuple[str, pd.DataFrame]], across: str, xlabel: str) -> Figure:
    present = [plan for plan in PLANS if plan in set(frame["plan"])]
    colours = dict(zip(present, sns.color_palette("colorblind"), strict=False))
    frame = frame.assign(bits=[Precision.parse(text).weights for text in frame["W-E-A"]])
    # Weights have 1 to 8 bits, or 32.
    markers = dict(zip(sorted(frame["bits"].unique(), reverse=True), "o^sDvpXPd", strict=False))
    rows = -(-len(panels) // 2)
    figure, grid = plt.subplots(rows, 2, squeeze=False, layout="constrained", figsize=(7.2, 2.8 * rows + 0.7))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, group) in zip(grid.flat, panels, strict=False):
        for _, run in frame.loc[group.index].iterrows():
            colour = colours[run["plan"]]
            face = colour if run["layers"] == "all" else "white"
            axes.plot(run[across], run["score"], markers[run["bits"]], color=colour, markerfacecolor=face)
        axes.set_xlim(0, 1.07 * group[across].max())
        (metric,) = group["metric"].unique()
        axes.set(xlabel=xlabel, ylabel=METRIC_LABELS[metric])
        axes.set_title(title, fontsize="medium")
    handles = list(_handles(colours, markers))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _handles(colours: dict[str, tuple[float, ...]], markers: dict[int, str]) -> Iterator[Line2D]:
    for plan, colour in colours.items():
        yield Line2D([], [], color=colour, linewidth=4, label=plan)
    for bits, marker in markers.items():
        yield Line2D([], [], color="black", marker=marker, linestyle="", label=f"{bits}-bit weights")
    if colours:
        yield Line2D([], [], color="black", marker="o", markerfacecolor="white", linestyle="", label="fewer layers")
