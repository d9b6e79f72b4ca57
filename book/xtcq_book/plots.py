"""Figures of the book: one style, colours that colour-blind readers can tell apart, a unit on every axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import product
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq.study.records import Record, history_frame, to_frame
from xtcq.tasks import TaskSpec, chance_level, standard_error, task_spec
from xtcq_book import labels, scores
from xtcq_book.labels import Label, as_text

Arguments = ParamSpec("Arguments")
_MARKERS = "os^Dvp"
PAGE = 11.0  # inches: a wider figure is shrunk in the column of a page until its text is too small
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


def nothing(text: str = "Nothing to draw: none of these runs has a Record.") -> Figure:
    """A figure that only says why it is empty."""
    figure = plt.figure(figsize=(7.2, 0.8))
    figure.text(0.5, 0.5, text, ha="center", va="center", color="dimgrey")
    return figure


def or_nothing(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Make a figure of its first argument, or `nothing` where that is empty."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Figure:
        return draw(*arguments, **named) if len(arguments[0]) else nothing()

    return drawn


def references(axes: plt.Axes, spec: TaskSpec, teachers: list[Record]) -> None:
    """Draw what scores of a task are held against: its teacher, dashed, and what no learning gives, dotted.

    Args:
        axes: with scores upwards.
        spec: the task.
        teachers: Records of full-precision teachers. One of another task is not drawn; a band around the line is the
            standard error of the score, where its value gives one.
    """
    for teacher in teachers:
        if teacher.experiment.task == spec.name:
            level = teacher.best[spec.primary_metric]
            axes.axhline(level, linestyle="--", color="grey", label="32-bit teacher")
            if error := standard_error(spec, level):
                band = {"color": "grey", "alpha": 0.2, "linewidth": 0, "label": "its standard error"}
                axes.axhspan(level - error, level + error, **band)
    if (level := chance_level(spec)) is not None:
        axes.axhline(level, linestyle=":", color="black", linewidth=1, label="one answer for all")


@or_nothing
def score_over_cost(
    students: list[Record],
    teachers: list[Record],
    columns: Label = labels.precision,
    lines: Label = labels.plan,
    legend: str = "",
) -> Figure:
    """Development score against training cost, one line a plan or whatever else is compared.

    A dotted vertical line in the colour of a plan is the end of a stage that another one follows.

    Cost is counted in optimizer steps: a step costs nearly the same in every plan, and the seconds of runs that shared
    a processor cannot be compared.

    Args:
        students: Records that differ in task and in the two labels (one learning rate, budget and seed).
        teachers: Records of the tasks' full-precision teachers, see `references`.
        columns: what one column of panels has in common.
        lines: what tells the lines of a panel apart.
        legend: name of what the lines are, where their labels alone do not say it.

    Returns:
        The figure.

    Raises:
        ValueError: if two runs would be one line.
    """

    def draw(axes: plt.Axes, line: pd.DataFrame, style: dict[str, Any]) -> None:
        runs = {record.experiment for record in line["record"]}
        if len(runs) > 1:
            raise ValueError(
                f"{' and '.join(sorted(map(str, runs)))} would be one line: give columns or lines that tell them "
                "apart, or fewer Records."
            )
        axes.plot(line["step"], line["score"], **style)
        for step in line.groupby("stage")["step"].max().iloc[:-1]:
            axes.axvline(step, linestyle=":", color=style["color"], linewidth=1)

    points = history_frame(students)
    return _panels(students, teachers, points, draw, "training cost (optimizer steps)", columns, lines, legend)


@or_nothing
def learning_rate_sensitivity(
    students: list[Record], teachers: list[Record], columns: Label = labels.precision, lines: Label = labels.plan
) -> Figure:
    """Best development score against the peak learning rate, one line a plan or whatever else is compared.

    Args:
        students: Records that differ in task, learning rate and in the two labels (one budget and seed).
        teachers: Records of the tasks' full-precision teachers, see `references`.
        columns: what one column of panels has in common.
        lines: what tells the lines of a panel apart.

    Returns:
        The figure.
    """
    frame = to_frame(students).sort_values("learning_rate", kind="stable")
    rates = frame["learning_rate"].unique()

    def draw(axes: plt.Axes, line: pd.DataFrame, style: dict[str, Any]) -> None:
        axes.plot(line["learning_rate"], line["score"], **style)
        axes.set_xscale("log")
        axes.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
        axes.set_xticks(rates, [as_text(rate) for rate in rates])
        axes.minorticks_off()

    return _panels(students, teachers, frame, draw, "peak learning rate", columns, lines)


def _panels(
    students: list[Record],
    teachers: list[Record],
    points: pd.DataFrame,
    draw: Callable[[plt.Axes, pd.DataFrame, dict[str, Any]], None],
    xlabel: str,
    columns: Label,
    lines: Label,
    legend: str = "",
) -> Figure:
    """One panel a task and value of `columns`, tasks downwards; a phone shows two panels side by side."""
    tasks = _unique(students, labels.task)
    across, apart = _unique(students, columns), _unique(students, lines)
    specs = _specs(students)
    styles = {
        value: {"color": colour, "marker": marker, "markersize": 5, "label": f"{legend} {as_text(value)}".lstrip()}
        for value, (colour, marker) in _looks(apart).items()
    }
    where = [tuple(label(record.experiment) for label in (labels.task, columns, lines)) for record in points["record"]]
    figure, grid = plt.subplots(
        len(tasks), len(across), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(3.6 * len(across), 2.7 * len(tasks) + 0.5),
    )  # fmt: skip
    for (i, task), (j, column) in product(enumerate(tasks), enumerate(across)):
        axes = grid[i, j]
        references(axes, specs[task], teachers)
        for value in apart:
            line = points[[place == (task, column, value) for place in where]]
            if len(line):
                draw(axes, line, styles[value])
        axes.set_title(f"{task}, {as_text(column)}")
    for i, task in enumerate(tasks):
        grid[i, 0].set_ylabel(METRIC_LABELS[specs[task].primary_metric])
    _finish(figure, grid, xlabel)
    return figure


@or_nothing
def compare(
    students: list[Record], teachers: list[Record], across: Label, apart: Label, xlabel: str, legend: str
) -> Figure:
    """Best development score of what is compared, one panel a task; a dot a run, a line through the means over seeds.

    Where runs differ in learning rate, those of the best rate are shown: the rate whose mean over seeds is highest.

    Args:
        students: Records.
        teachers: Records of the tasks' full-precision teachers, see `references`.
        across: what the horizontal axis shows, in the order of the Records.
        apart: what tells the lines apart.
        xlabel: name of the horizontal axis.
        legend: name of what the lines are.

    Returns:
        The figure.
    """
    frame = tuned(students, across, apart)
    tasks, values, specs = _unique(students, labels.task), _unique(students, across), _specs(students)
    names = _unique(students, apart)
    width = max(3.6, 0.9 * len(values) + 1.8)
    # As many rows as keep the figure legible in a page's column, filled as evenly as possible.
    rows = -(-len(tasks) // max(1, int(PAGE // width)))
    columns = -(-len(tasks) // rows)
    size = width * columns, 2.9 * rows + 0.5
    figure, grid = plt.subplots(rows, columns, squeeze=False, layout="constrained", figsize=size)
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    looks = _looks(names)
    for axes, task in zip(grid.flat, tasks, strict=False):
        references(axes, specs[task], teachers)
        for name, (colour, marker) in looks.items():
            line = frame[(frame["task"] == task) & (frame["apart"] == name)]
            if line.empty:
                continue
            where = [values.index(value) for value in line["across"]]
            axes.plot(where, line["score"], color=colour, marker=marker, linestyle="", markersize=4, alpha=0.6)
            means = line.assign(where=where).groupby("where")["score"].mean()
            label = f"{legend} {as_text(name)}".lstrip()
            axes.plot(means.index, means, color=colour, marker=marker, markersize=7, label=label)
        axes.set_xticks(range(len(values)), [as_text(value) for value in values])
        axes.margins(x=0.15)
        axes.set(title=task, ylabel=METRIC_LABELS[specs[task].primary_metric])
    _finish(figure, grid, xlabel)
    return figure


def tuned(students: list[Record], across: Label, apart: Label) -> pd.DataFrame:
    """The runs of the best learning rate for every task and pair of labels, see `xtcq_book.scores.tuned`.

    Args:
        students: Records.
        across: first label.
        apart: second label.

    Returns:
        Columns ``task``, ``across``, ``apart``, ``learning_rate``, ``seed``, ``score``.

    Raises:
        ValueError: if runs with the same labels differ in more than seed and learning rate.
    """
    chosen = scores.tuned(students)
    frame = to_frame(chosen).assign(
        task=[labels.task(record.experiment) for record in chosen],
        across=[across(record.experiment) for record in chosen],
        apart=[apart(record.experiment) for record in chosen],
    )
    cell = ["task", "across", "apart"]
    if frame.duplicated([*cell, "seed"]).any():
        raise ValueError("runs with the same labels differ in more than seed and learning rate: name what differs.")
    return frame[[*cell, "learning_rate", "seed", "score"]]


def _looks(values: list[Any]) -> dict[Any, tuple[Any, str]]:
    """A colour and a marker for each value, none of them twice."""
    if len(values) > len(_MARKERS):
        raise ValueError(
            f"a figure tells {len(_MARKERS)} lines apart and got {len(values)}: {values}. Draw fewer, or use panels."
        )
    return dict(zip(values, zip(sns.color_palette("colorblind"), _MARKERS, strict=False), strict=False))


def _unique(students: list[Record], label: Label) -> list[Any]:
    return list(dict.fromkeys(label(record.experiment) for record in students))


def _specs(students: list[Record]) -> dict[str, TaskSpec]:
    return {labels.task(record.experiment): task_spec(record.experiment.task) for record in students}


def _finish(figure: Figure, grid: Any, xlabel: str) -> None:
    """Name the horizontal axes and what is drawn; a panel may lack a line that was not run, the legend has them all."""
    for column in grid.T:
        [axes for axes in column if axes.get_visible()][-1].set_xlabel(xlabel)
    legend_below(figure)


def legend_below(figure: Figure) -> None:
    """Name what the panels of a figure show, once each, in as many columns as its width has room for."""
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = max(1, int(figure.get_figwidth() // 2))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False)


@or_nothing
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
        references(axes, task_spec(row["task"]), [])
        axes.set(title=task_spec(row["task"]).title, ylabel=METRIC_LABELS[row["metric"]])
    _finish(figure, grid, "epoch")
    return figure
