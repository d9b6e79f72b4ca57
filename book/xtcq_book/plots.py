"""Figures of the book: one style, colours that colour-blind readers can tell apart, a unit on every axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq.study.records import Record
from xtcq.tasks import TaskSpec, chance_level, standard_error, task_spec
from xtcq_book.frame import evaluations
from xtcq_book.labels import as_text
from xtcq_book.scores import tuned

Arguments = ParamSpec("Arguments")
METRIC_LABELS = {
    "matthews": "Matthews corr. (x 100)",
    "accuracy": "accuracy (%)",
    "f1": "F1 (%)",
    "pearson": "Pearson corr. (x 100)",
    "spearman": "Spearman corr. (x 100)",
}
# Inches. Two panels side by side are as wide as a phone can still show with legible numbers.
_HEIGHT, _WIDTH = 2.4, 6.0


def use_style() -> None:
    """Set the book's style. The background is opaque white, so that a figure is readable on a dark page as well."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 110, "savefig.facecolor": "white", "figure.facecolor": "white"})


def nothing(text: str = "Nothing to draw: none of these runs has a Record.") -> Figure:
    """A figure that only says why it is empty."""
    figure = plt.figure(figsize=(6.5, 0.8))
    figure.text(0.5, 0.5, text, ha="center", va="center", color="dimgrey")
    return figure


def or_nothing(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Make a figure of its first argument, or `nothing` where that is empty."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Figure:
        return draw(*arguments, **named) if len(arguments[0]) else nothing()

    return drawn


def panels(
    frame: pd.DataFrame,
    by: Sequence[str],
    x: str,
    y: str,
    hue: str,
    *,
    xlabel: str,
    ylabel: str | None = None,
    style: str | None = None,
    kind: Callable[..., Any] = sns.lineplot,
    share: str | None = "task",
    **look: Any,
) -> sns.FacetGrid:
    """The one way in which the book draws runs: a panel a value of some labels, colours and markers, a legend below.

    Args:
        frame: one row a point; at least one.
        by: columns that name the panels, in the order of the rows.
        x: column across. Texts and integers stand at equal distances if the column is categorical.
        y: column upwards; several rows at one x are their mean, with a bar from the least to the most.
        hue: column that tells colours apart, and markers too unless ``style`` does.
        xlabel: what is across, with its unit.
        ylabel: what is upwards, with its unit. Left out, ``frame`` holds runs, ``y`` is their primary metric, and the
            panel shows their references as well.
        style: column that tells markers and dashes apart.
        kind: ``seaborn.lineplot`` or ``seaborn.scatterplot``.
        share: column whose panels have the same axes where it has one value; None for none.
        **look: further arguments of ``kind``.

    Returns:
        The grid; its ``axes_dict`` has the panels by title, so that a figure can add what it alone has.
    """
    frame = frame.assign(panel=joined(frame, *by), **{name: ordered(frame[name]) for name in {hue, style} - {None}})
    columns = min(2, frame["panel"].nunique())
    shape = {"col_wrap": columns, "height": _HEIGHT, "aspect": _WIDTH / _HEIGHT / columns}
    grid = sns.FacetGrid(frame, col="panel", sharex=False, sharey=False, **shape)
    if kind is sns.lineplot:
        look = {"errorbar": ("pi", 100), "err_style": "bars", "markers": True, "dashes": style is not None} | look
    look = {"palette": sns.color_palette("colorblind", frame[hue].nunique()), "legend": "full"} | look
    grid.map_dataframe(kind, x=x, y=y, hue=hue, style=style or hue, **look)
    for title, axes in grid.axes_dict.items():
        if axes.legend_:
            axes.legend_.remove()
        points = frame[frame["panel"] == title]
        if ylabel is None:
            spec = task_spec(points["experiment"].iloc[0].task)
            teachers = {one.best[spec.primary_metric]: one for one in points["reference"].dropna()}.values()
            top = max([points[y].max(), *(teacher.best[spec.primary_metric] for teacher in teachers)])
            # Chance that is farther below all scores than they reach would only flatten the panel.
            references(axes, spec, teachers, lowest=2 * points[y].min() - top)
        axes.set(title=fill(title, 30), xlabel=fill(xlabel, 32), ylabel=ylabel or METRIC_LABELS[spec.primary_metric])
    for _, titles in frame.groupby(share, sort=False)["panel"] if share else ():
        if titles.nunique() > 1:
            _share([grid.axes_dict[title] for title in titles.unique()])
    legend_below(grid.figure, "" if style else hue)
    return grid


@or_nothing
def score_over_steps(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Figure:
    """Development score against training cost, one line a run.

    A dotted vertical line in the colour of a line is the end of a stage that another one follows. Cost is counted in
    optimizer steps: a step costs nearly the same in every plan, and the seconds of runs that shared a processor cannot
    be compared.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        hue: column that tells lines apart.
        by: columns that name the panels, after the task.

    Returns:
        The figure.
    """
    points = evaluations(runs)
    what = "training cost (optimizer steps)"
    grid = panels(points, ["task", *by], "step", "score", hue, xlabel=what, units="run", estimator=None)
    colours = dict(zip(ordered(runs[hue]).cat.categories, sns.color_palette("colorblind", runs[hue].nunique())))
    points = points.assign(panel=joined(points, "task", *by))
    for (title, _), run in points.groupby(["panel", "run"], sort=False):
        for end in run.groupby("stage")["step"].max().iloc[:-1]:
            grid.axes_dict[title].axvline(end, linestyle=":", color=colours[as_text(run[hue].iloc[0])], linewidth=1)
    return grid.figure


@or_nothing
def score_over_rates(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Figure:
    """Best development score against the peak learning rate, means over seeds with their range.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        hue: column that tells lines apart.
        by: columns that name the panels, after the task.

    Returns:
        The figure.
    """
    rates = sorted(runs["learning rate"].unique())
    grid = panels(runs, ["task", *by], "learning rate", "best", hue, xlabel="peak learning rate")
    for axes in grid.axes.flat:
        axes.set_xscale("log")
        axes.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
        axes.set_xticks(rates, map(as_text, rates))
        axes.minorticks_off()
    return grid.figure


@or_nothing
def compare(runs: pd.DataFrame, across: str | Sequence[str], hue: str | Sequence[str], xlabel: str) -> Figure:
    """Best development score of what is compared, one panel a task: means over seeds, with a bar over their range.

    Where runs differ in learning rate, those of the best rate are shown, see ``xtcq_book.scores.tuned``.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        across: columns that the horizontal axis shows, in the order of the runs.
        hue: columns that tell lines apart.
        xlabel: name of the horizontal axis.

    Returns:
        The figure.

    Raises:
        ValueError: if runs with the same labels differ in more than seed and learning rate.
    """
    across, hue = ([names] if isinstance(names, str) else list(names) for names in (across, hue))
    line = ", ".join(hue)
    runs = runs.assign(across=ordered(joined(runs, *across)), **{line: ordered(joined(runs, *hue))})
    runs = tuned(runs)
    if runs.duplicated(["task", "across", line, "seed"]).any():
        raise ValueError("runs with the same labels differ in more than seed and learning rate: name what differs.")
    grid = panels(runs, ["task"], "across", "best", line, xlabel=xlabel)
    for axes in grid.axes.flat:
        axes.margins(x=0.15)
    return grid.figure


def joined(frame: pd.DataFrame, *names: str) -> pd.Series:
    """One label from several columns, for an axis or a title that shows more than one thing."""
    texts = frame[list(names)].map(as_text)
    return texts.agg(", ".join, axis=1) if len(frame) else pd.Series(index=frame.index, dtype=object)


def ordered(column: pd.Series) -> pd.Series:
    """A column as categories in the order of the rows, written as a reader expects them; only those that it has."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    texts = column.map(as_text)
    return texts.astype(pd.CategoricalDtype(texts.unique()))


def references(axes: plt.Axes, spec: TaskSpec, teachers: Iterable[Record], lowest: float = -math.inf) -> None:
    """Draw what scores of a task are held against: its teacher, dashed, and what no learning gives, dotted.

    Args:
        axes: with scores upwards.
        spec: the task.
        teachers: Records of full-precision teachers. One of another task is not drawn; a band around the line is the
            standard error of the score, where its value gives one.
        lowest: chance below it is not drawn.
    """
    for teacher in teachers:
        if teacher.experiment.task == spec.name:
            level = teacher.best[spec.primary_metric]
            axes.axhline(level, linestyle="--", color="grey", label="32-bit teacher")
            if error := standard_error(spec, level):
                band = {"color": "grey", "alpha": 0.2, "linewidth": 0, "label": "its standard error"}
                axes.axhspan(level - error, level + error, **band)
    if (level := chance_level(spec)) is not None and level >= lowest:
        axes.axhline(level, linestyle=":", color="black", linewidth=1, label="one answer for all")


def legend_below(figure: Figure, title: str = "") -> None:
    """Name what the panels of a figure show, once each, in as many columns as its width has room for.

    Args:
        figure: its panels have labelled lines.
        title: what the lines are.
    """
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    # Inches of a handle and of a letter.
    columns = max(1, int(figure.get_figwidth() / (0.6 + 0.08 * max(map(len, named), default=0))))
    figure.set_layout_engine("constrained")
    figure.set_figheight(figure.get_figheight() + 0.25 * (-(-len(named) // columns) + bool(title)))
    below = {"loc": "outside lower center", "ncols": columns, "frameon": False, "title": title}
    figure.legend(named.values(), named.keys(), **below)


def _share(panels: list[plt.Axes]) -> None:
    """Panels that are to be compared with one another get the same axes."""
    for side in ("x", "y"):
        limits = np.array([getattr(axes, f"get_{side}lim")() for axes in panels])
        for axes in panels:
            getattr(axes, f"set_{side}lim")(limits[:, 0].min(), limits[:, 1].max())
