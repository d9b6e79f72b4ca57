"""Panels of a figure: one a task or a label, what their lines are held against, and how those are named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from xtcq.study.records import Record
from xtcq.tasks import TaskSpec, chance_level, standard_error
from xtcq_book.columns import as_text
from xtcq_book.svg import GREY, HEIGHT, INK, PALETTE, WIDTH

METRIC_LABELS = {
    "matthews": "Matthews corr. (x 100)",
    "accuracy": "accuracy (%)",
    "f1": "F1 (%)",
    "pearson": "Pearson corr. (x 100)",
    "spearman": "Spearman corr. (x 100)",
}
# More lines than these have no room for their names at their ends.
_NAMED_AT_ENDS = 4


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
    band: bool = False,
    reach: str | None = None,
    **look: Any,
) -> sns.FacetGrid:
    """The one way in which the book draws runs: a panel a value of some labels, colours and markers told apart.

    The names of a few lines stand at their ends; of more, in a legend below.

    Args:
        frame: one row a point; at least one.
        by: columns that name the panels, in the order of the rows.
        x: column across. Texts and integers stand at equal distances if the column is categorical.
        y: column upwards; several rows at one x are their mean.
        hue: column that tells colours apart, and markers too unless ``style`` does.
        xlabel: what is across, with its unit.
        ylabel: what is upwards, with its unit. Left out, ``frame`` holds runs, ``y`` is their primary metric, and the
            panel shows their references as well.
        style: column that tells markers and dashes apart.
        kind: ``seaborn.lineplot`` or ``seaborn.scatterplot``.
        share: column whose panels have the same axes where it has one value; None for none.
        band: shade from the column ``low`` to ``high`` around each line, or each of ``look["units"]``.
        reach: column of what else a figure will draw upwards, so that panels have room for it.
        **look: further arguments of ``kind``.

    Returns:
        The grid; its ``axes_dict`` has the panels by title, so that a figure can add what it alone has.
    """
    frame = frame.assign(panel=joined(frame, *by), **{name: ordered(frame[name]) for name in {hue, style} - {None}})
    shape = {"col_wrap": min(2, frame["panel"].nunique()), "height": HEIGHT, "aspect": WIDTH / HEIGHT}
    grid = sns.FacetGrid(frame, col="panel", sharex=False, sharey=False, **shape)
    if kind is sns.lineplot:
        look = {"errorbar": None, "markers": True, "dashes": style is not None, "markeredgecolor": "none"} | look
    shades = colours(frame[hue])
    look = {"palette": shades, "legend": "full"} | look
    grid.map_dataframe(kind, x=x, y=y, hue=hue, style=style or hue, **look)
    for title, axes in grid.axes_dict.items():
        if axes.legend_:
            axes.legend_.remove()
        points = frame[frame["panel"] == title]
        if reach:
            axes.update_datalim(points[[x, reach]].to_numpy())
            axes.autoscale_view()
        alone = [hue, *([look["units"]] if "units" in look else [])]
        for (name, *_), line in points.groupby(alone, observed=True, sort=False) if band else ():
            axes.fill_between(line[x], line["low"], line["high"], color=shades[name], alpha=0.15, linewidth=0)
        if ylabel is None:
            spec = points["experiment"].iloc[0].spec
            teachers = {one.best[spec.primary_metric]: one for one in points["reference"].dropna()}.values()
            top = max([points[y].max(), *(teacher.best[spec.primary_metric] for teacher in teachers)])
            # Chance that is farther below all scores than they reach would only flatten the panel.
            references(axes, spec, teachers, lowest=2 * points[y].min() - top)
        axes.set_title(fill(title, 42), loc="left")
        axes.set(title="", xlabel=fill(xlabel, 42), ylabel=ylabel or METRIC_LABELS[spec.primary_metric])
    for _, titles in frame.groupby(share, sort=False)["panel"] if share else ():
        if titles.nunique() > 1:
            _share([grid.axes_dict[title] for title in titles.unique()])
    if kind is sns.lineplot and style is None and frame[hue].nunique() <= _NAMED_AT_ENDS:
        for title, axes in grid.axes_dict.items():
            last = (
                frame[frame["panel"] == title]
                .sort_values(x, kind="stable")
                .groupby(hue, observed=True, sort=False)[y]
                .last()
            )
            name_ends(axes, last.to_dict(), hue)
    legend_below(grid.figure, "" if style else hue)
    return grid


def colours(column: pd.Series) -> dict[str, str]:
    """A colour for each value of a column, the same in every panel; more values than there are colours share some."""
    names = ordered(column).cat.categories
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def name_ends(axes: plt.Axes, ends: Mapping[str, float], hue: str = "") -> None:
    """Write names at the right of a panel whose lines are drawn, at the heights where these end, none over another.

    What a panel is held against (`references`) is named in the same way. ``hue`` is what the names are values of,
    written before one that says nothing by itself: a number, or none.
    """
    held = {str(line.get_label()): line.get_ydata()[0] for line in axes.get_lines() if line.get_gid() == "reference"}
    bottom, top = axes.get_ylim()
    wanted = sorted(((height - bottom) / (top - bottom), name) for name, height in (dict(ends) | held).items())
    gap = 0.1
    places = np.array([min(max(height, 0.0), 1.0) for height, _ in wanted])
    for upper in range(1, len(places)):
        places[upper] = max(places[upper], places[upper - 1] + gap)
    places -= max(0.0, places[-1] - 1.0) if len(places) else 0.0
    for lower in range(len(places) - 2, -1, -1):
        places[lower] = min(places[lower], places[lower + 1] - gap)
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    side = {"xycoords": "axes fraction", "va": "center", "fontsize": 9, "annotation_clip": False}
    for place, (_, name) in zip(places, wanted, strict=True):
        bare = name.isdigit() or name == "none"
        axes.annotate(f"{hue} {name}".lstrip() if bare else name, (1.09, place), color=INK, **side)
        if name not in held:
            axes.annotate("■", (1.02, place), color=lines[name].get_color(), **side)


def references(
    axes: plt.Axes, spec: TaskSpec, teachers: Iterable[Record], lowest: float = -math.inf, across: bool = False
) -> None:
    """Draw what scores of a task are held against: its teachers, dashed, and what no learning gives, dotted.

    A band is the standard error of a score, where its value gives one. Chance below ``lowest`` is not drawn. Scores are
    upwards, or ``across``.
    """
    line, span = (axes.axvline, axes.axvspan) if across else (axes.axhline, axes.axhspan)
    for teacher in teachers:
        level = teacher.best[spec.primary_metric]
        line(level, linestyle="--", color=GREY, linewidth=1, label="teacher", gid="reference")
        if error := standard_error(spec, level):
            span(level - error, level + error, color=GREY, alpha=0.15, linewidth=0)
    if (level := chance_level(spec)) is not None and level >= lowest:
        line(level, linestyle=":", color=INK, linewidth=1, label="chance", gid="reference")


def legend_below(figure: Figure, title: str = "") -> None:
    """Name the labelled lines of a figure's panels, once each, in as many columns as a panel has room for.

    Those that are named in the panel itself are left out.
    """
    written = {text.get_text() for axes in figure.axes for text in axes.texts}
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        if not {label, f"{title} {label}"} & written
    }  # fmt: skip
    if not named:
        return
    # Inches of a handle, of a letter, and of a line; the panels keep their own room.
    # What has headings of its own goes down a single column: none of them stands at the foot of one.
    columns = max(1, int(WIDTH / (0.6 + 0.07 * max(map(len, named))))) if title else 1
    figure.set_layout_engine("constrained")
    figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(named) // columns) + bool(title)))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, title=title)


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


def _share(panels: list[plt.Axes]) -> None:
    """Panels that are to be compared with one another get the same axes."""
    for side in ("x", "y"):
        limits = np.array([getattr(axes, f"get_{side}lim")() for axes in panels])
        for axes in panels:
            getattr(axes, f"set_{side}lim")(limits[:, 0].min(), limits[:, 1].max())
