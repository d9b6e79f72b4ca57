"""Figures of the book: one style, colours that colour-blind readers can tell apart, a unit on every axis."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq.study.beside import as_printed
from xtcq.study.records import Record, history_frame, to_frame
from xtcq.tasks import task_spec

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

    def draw(axes: plt.Axes, line: pd.DataFrame, style: dict[str, Any]) -> None:
        axes.plot(line["step"], line["score"], **style)
        ends = line.groupby("stage").tail(1)
        axes.plot(ends["step"], ends["score"], color=style["color"], marker="|", markersize=16, linestyle="")

    return _plan_panels(students, teachers, history_frame(students), draw, "training cost (optimizer steps)")


def learning_rate_sensitivity(students: list[Record], teachers: list[Record]) -> Figure:
    """Best development score against the peak learning rate, one line a plan.

    Args:
        students: Records that differ in task, precision, plan and learning rate (one budget).
        teachers: Records of their teachers, drawn as a dashed level.

    Returns:
        The figure.
    """
    frame = to_frame(students).sort_values("learning_rate", kind="stable")
    rates = frame["learning_rate"].unique()

    def draw(axes: plt.Axes, line: pd.DataFrame, style: dict[str, Any]) -> None:
        axes.plot(line["learning_rate"], line["score"], **style)
        axes.set_xscale("log")
        axes.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
        axes.set_xticks(rates, [as_printed(rate) for rate in rates])
        axes.minorticks_off()

    return _plan_panels(students, teachers, frame, draw, "peak learning rate")


def _plan_panels(
    students: list[Record],
    teachers: list[Record],
    points: pd.DataFrame,
    draw: Callable[[plt.Axes, pd.DataFrame, dict[str, Any]], None],
    xlabel: str,
) -> Figure:
    """One panel a task and precision, tasks downwards, a line a plan; a phone shows two panels side by side."""
    frame = to_frame(students)
    levels = to_frame(teachers).set_index("task")["score"]
    tasks, precisions, plans = (frame[name].unique() for name in ("task", "precision", "stages"))
    styles = {
        plan: {"color": colour, "marker": marker, "markersize": 5, "label": plan}
        for plan, colour, marker in zip(plans, sns.color_palette("colorblind"), "os^Dvp", strict=False)
    }
    figure, grid = plt.subplots(
        len(tasks), len(precisions), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(3.6 * len(precisions), 2.7 * len(tasks) + 0.5),
    )  # fmt: skip
    for (i, task), (j, precision) in product(enumerate(tasks), enumerate(precisions)):
        axes = grid[i, j]
        axes.axhline(levels[task], linestyle="--", color="grey", label="32-bit teacher")
        here = points[(points["task"] == task) & (points["precision"] == precision)]
        for plan, line in here.groupby("stages", sort=False):
            draw(axes, line, styles[plan])
        axes.set_title(f"{task_spec(task).title}, {precision}")
    for i, task in enumerate(tasks):
        grid[i, 0].set_ylabel(METRIC_LABELS[task_spec(task).primary_metric])
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    # A panel may lack a plan that was not run there; the legend names them all once.
    named = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, frameon=False)
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
        axes.set(title=task_spec(row["task"]).title, xlabel="epoch", ylabel=METRIC_LABELS[row["metric"]])
    return figure
