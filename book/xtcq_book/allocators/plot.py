"""Figure of the chapter on allocators: scores over bit operations, one curve a method."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from xtcq.study.records import Record
from xtcq.tasks import task_spec
from xtcq_book.allocators.chapter import NAMES
from xtcq_book.drawing import Drawing, or_nothing
from xtcq_book.panels import METRIC_LABELS, legend_below, references
from xtcq_book.svg import HEIGHT, PALETTE, WIDTH


@or_nothing
def score_over_bitops(frame: pd.DataFrame, teachers: list[Record], students: list[Record]) -> Drawing:
    """Best development score over BitOPs, one curve a method and one panel a task.

    A dot is a run; a line joins the means over seeds of one method, in order of BitOPs.
    """
    tasks = list(frame["task"].unique())
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, layout="constrained", figsize=(WIDTH * columns, HEIGHT * rows)
    )
    looks = dict(zip(NAMES.values(), zip(PALETTE, "os^Dvp", strict=False), strict=True))
    for axes, task in zip(grid.flat, tasks, strict=False):
        spec = task_spec(task)
        scores = frame.loc[frame["task"] == task, "score"]
        references(axes, spec, teachers, lowest=2 * scores.min() - scores.max())
        for name, (colour, marker) in looks.items():
            runs = frame[(frame["task"] == task) & (frame["method"] == name)]
            if runs.empty:
                continue
            axes.plot(runs["GBitOPs"], runs["score"], marker, color=colour, markersize=4, alpha=0.5)
            means = runs.groupby("asked")[["GBitOPs", "score"]].mean().sort_values("GBitOPs")
            axes.plot(*means.to_numpy().T, color=colour, marker=marker, markersize=7, label=name)
        axes.set_title(spec.title, loc="left")
        axes.set(xlabel="BitOPs per token ($10^9$)", ylabel=METRIC_LABELS[spec.primary_metric])
        axes.xaxis.set_major_locator(MaxNLocator(5))
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    legend_below(figure)
    data = frame[["task", "method", "asked", "seed", "W", "A", "GBitOPs", "score"]]
    return Drawing(figure, data, [*students, *teachers])
