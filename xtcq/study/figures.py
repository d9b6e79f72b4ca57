"""Figures of the book: one style, colours that colour-blind readers can tell apart, a unit on every axis."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq.study.records import Record, history_frame, to_frame

METRIC_LABELS = {
    "matthews": "Matthews correlation (x 100)",
    "accuracy": "accuracy (%)",
    "f1": "F1 (%)",
    "pearson": "Pearson correlation (x 100)",
    "spearman": "Spearman correlation (x 100)",
}


def use_style() -> None:
    """Set the book's style. The background is opaque white, so that a figure is readable on a dark page as well."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 110, "savefig.facecolor": "white", "figure.facecolor": "white"})


def _panels(frame: pd.DataFrame) -> tuple[Figure, dict[tuple[str, str], plt.Axes]]:
    """One panel a task and precision, tasks downwards; a phone shows two side by side."""
    tasks, precisions = frame["task"].unique(), frame["precision"].unique()
    figure, axes = plt.subplots(
        len(tasks), len(precisions), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(3.6 * len(precisions), 2.7 * len(tasks) + 0.5),
    )  # fmt: skip
    panels = {}
    for i, task in enumerate(tasks):
        for j, precision in enumerate(precisions):
            panels[task, precision] = axes[i, j]
            axes[i, j].set_title(f"{task}, {precision}")
        axes[i, 0].set_ylabel(METRIC_LABELS[frame.loc[frame["task"] == task, "metric"].iloc[0]])
    return figure, panels


def _one_legend(figure: Figure, axes: plt.Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, frameon=False)


def score_over_cost(students: list[Record], teachers: list[Record]) -> Figure:
    """Development score against training cost, one line a plan; a mark where a stage ends.

    Cost is counted in optimizer steps: a step costs nearly the same in every plan, and the seconds of runs that shared
    a processor cannot be compared.

    Args:
        students: Records that differ in task, precision and plan (one learning rate and budget).
        teachers: Records of their teachers, drawn as a dashed level.

    Returns:
        The figure.
    """
    frame, points = to_frame(students), history_frame(students)
    levels = to_frame(teachers).set_index("task")["score"]
    figure, panels = _panels(frame)
    colours = dict(zip(frame["stages"].unique(), sns.color_palette("colorblind"), strict=False))
    for (task, precision), axes in panels.items():
        axes.axhline(levels[task], linestyle="--", color="grey", label="32-bit teacher")
        here = points[(points["task"] == task) & (points["precision"] == precision)]
        for plan, line in here.groupby("stages", sort=False):
            axes.plot(line["step"], line["score"], color=colours[plan], marker=".", label=plan)
            ends = line.groupby("stage").tail(1)
            axes.plot(ends["step"], ends["score"], color=colours[plan], marker="|", markersize=14, linestyle="")
    for axes in list(panels.values())[-frame["precision"].nunique() :]:
        axes.set_xlabel("training cost (optimizer steps)")
    _one_legend(figure, next(iter(panels.values())), columns=4)
    return figure


def learning_rate_sensitivity(students: list[Record], teachers: list[Record]) -> Figure:
    """Best development score against the peak learning rate, one line a plan.

    Args:
        students: Records that differ in task, precision, plan and learning rate (one budget).
        teachers: Records of their teachers, drawn as a dashed level.

    Returns:
        The figure.
    """
    frame = to_frame(students)
    levels = to_frame(teachers).set_index("task")["score"]
    figure, panels = _panels(frame)
    colours = dict(zip(frame["stages"].unique(), sns.color_palette("colorblind"), strict=False))
    for (task, precision), axes in panels.items():
        axes.axhline(levels[task], linestyle="--", color="grey", label="32-bit teacher")
        here = frame[(frame["task"] == task) & (frame["precision"] == precision)]
        for plan, line in here.groupby("stages", sort=False):
            line = line.sort_values("learning_rate")
            axes.plot(line["learning_rate"], line["score"], color=colours[plan], marker="o", label=plan)
        axes.set_xscale("log")
        rates = sorted(frame["learning_rate"].unique())
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.minorticks_off()
    for axes in list(panels.values())[-frame["precision"].nunique() :]:
        axes.set_xlabel("peak learning rate")
    _one_legend(figure, next(iter(panels.values())), columns=4)
    return figure


def score_over_epochs(records: list[Record]) -> Figure:
    """Development score over epochs of plain fine-tuning, one panel a task.

    Args:
        records: Records of teachers.

    Returns:
        The figure.
    """
    frame, points = to_frame(records), history_frame(records)
    columns = min(3, len(frame))
    rows = -(-len(frame) // columns)
    figure, grid = plt.subplots(rows, columns, squeeze=False, layout="constrained", figsize=(3.2 * columns, 2.7 * rows))
    for axes in grid.flat[len(frame) :]:
        axes.set_visible(False)
    for axes, (_, row) in zip(grid.flat, frame.iterrows(), strict=False):
        line = points[points["task"] == row["task"]]
        axes.plot(line["epoch"], line["score"], marker=".")
        axes.set(title=row["task"], xlabel="epoch", ylabel=METRIC_LABELS[row["metric"]])
    return figure
