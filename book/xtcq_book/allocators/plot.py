"""Figure of the chapter on allocators: scores over bit operations, one curve a method."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xtcq.study.records import Record
from xtcq.tasks import task_spec
from xtcq_book.allocators.chapter import NAMES
from xtcq_book.plots import METRIC_LABELS, legend_below, or_nothing, references


@or_nothing
def score_over_bitops(frame: pd.DataFrame, teachers: list[Record]) -> Figure:
    """Best development score over BitOPs, one curve a method and one panel a task.

    A dot is a run; a line joins the means over seeds of one method, in order of BitOPs.

    Args:
        frame: of ``allocators.to_frame``.
        teachers: Records of the tasks' full-precision teachers, see ``plots.references``.

    Returns:
        The figure.
    """
    tasks = list(frame["task"].unique())
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, layout="constrained", figsize=(max(3.6 * columns, 4.8), 2.9 * rows + 0.8)
    )
    looks = dict(zip(NAMES.values(), zip(sns.color_palette("colorblind"), "os^Dvp", strict=False), strict=True))
    for axes, task in zip(grid.flat, tasks, strict=False):
        spec = task_spec(task)
        references(axes, spec, teachers)
        for name, (colour, marker) in looks.items():
            runs = frame[(frame["task"] == task) & (frame["method"] == name)]
            if runs.empty:
                continue
            axes.plot(runs["GBitOPs"], runs["score"], marker, color=colour, markersize=4, alpha=0.5)
            means = runs.groupby("asked")[["GBitOPs", "score"]].mean().sort_values("GBitOPs")
            axes.plot(*means.to_numpy().T, color=colour, marker=marker, markersize=7, label=name)
        axes.set(title=spec.title, xlabel="BitOPs per token ($10^9$)", ylabel=METRIC_LABELS[spec.primary_metric])
        axes.xaxis.set_major_locator(MaxNLocator(5))
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    legend_below(figure)
    return figure
