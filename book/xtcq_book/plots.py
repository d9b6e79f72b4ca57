"""Figures of the book: one style, one way to draw runs and one to show a figure on a page."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure

from xtcq.study.records import Record
from xtcq.tasks import TaskSpec, chance_level, standard_error, task_spec
from xtcq_book import provenance, svg
from xtcq_book.frame import evaluations
from xtcq_book.labels import as_text
from xtcq_book.scores import alike, tuned
from xtcq_book.svg import GREY, HEIGHT, INK, PALETTE, WIDTH

Arguments = ParamSpec("Arguments")
METRIC_LABELS = {
    "matthews": "Matthews corr. (x 100)",
    "accuracy": "accuracy (%)",
    "f1": "F1 (%)",
    "pearson": "Pearson corr. (x 100)",
    "spearman": "Spearman corr. (x 100)",
}
# More lines than these have no room for their names at their ends.
_NAMED_AT_ENDS = 4
_MARKERS = "osDP^vX*"
_BANDS = (
    "Bands: the range of the seeds; of a single seed and of the teacher, a standard error of the development score to "
    "either side (none is known for Matthews correlations)."
)


@dataclass(frozen=True)
class Drawing:
    """A figure, with what it shows and where that comes from.

    Attributes:
        figure: the figure.
        data: what it shows, one row a point, for a reader to take away.
        source: of the numbers, see ``xtcq_book.provenance``; None where whoever shows it has to say that.
        note: how to read it, where its labels do not say.
    """

    figure: Figure
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: provenance.Source | None = None
    note: str = ""


def use_style() -> None:
    """Set the book's style: transparent, in the page's own colour of text, with letters that a phone can show."""
    sns.set_theme(context="paper", style="ticks", palette=PALETTE)
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    plt.rcParams.update(dict.fromkeys(inked, INK))
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, HEIGHT),
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "axes.grid": True,
            "grid.color": GREY,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.markeredgewidth": 0,
            "lines.markersize": 4.5,
            "lines.linewidth": 1.4,
            "svg.fonttype": "none",
            "svg.hashsalt": "xtcq",
            "path.simplify_threshold": 0.5,
        }
    )
    sizes = dict.fromkeys(("axes.labelsize", "axes.titlesize", "font.size", "legend.title_fontsize"), 8.5)
    plt.rcParams.update(sizes | dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8))


def show(drawn: Drawing | Figure, alt: str, source: provenance.Source | None = None) -> HTML:
    """Put a figure on the page: its panels side by side where there is room, what they show as CSV, and the source.

    Args:
        drawn: what is shown; it is closed.
        alt: what it shows, for a reader who cannot see it.
        source: of the numbers, where the drawing does not know it.

    Returns:
        An object that a notebook renders.

    Raises:
        ValueError: a figure that does not say where it comes from.
    """
    drawn = Drawing(drawn) if isinstance(drawn, Figure) else drawn
    source = drawn.source if source is None else source
    if source is None:
        raise ValueError(
            f"the figure «{alt}» does not say where its numbers come from: give source=, the runs behind it or a "
            "sentence"
        )
    pictures = "".join(svg.panels(drawn.figure))
    plt.close(drawn.figure)
    name = "-".join(re.findall(r"[a-z0-9]+", alt.lower())[:6])
    note = f"<p>{html.escape(drawn.note)}</p>" if drawn.note else ""
    below = note + csv_link(drawn.data, name) + provenance.line(source)
    return HTML(
        f'<figure class="panels"><div role="img" aria-label="{html.escape(alt)}">{pictures}</div>'
        f"<figcaption>{below}</figcaption></figure>"
    )


def csv_link(data: pd.DataFrame, name: str) -> str:
    """A link that hands over a table as a file; nothing where it is empty."""
    if data.empty:
        return ""
    written = base64.b64encode(data.to_csv(index=False, float_format="%.6g").encode()).decode()
    return f'<a download="{name}.csv" href="data:text/csv;base64,{written}">Data (CSV)</a> '


def nothing(text: str = "Nothing to draw: none of these runs has a Record.") -> Drawing:
    """A figure that only says why it is empty."""
    figure = plt.figure(figsize=(WIDTH, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return Drawing(figure, source=())


def or_nothing(draw: Callable[Arguments, Drawing]) -> Callable[Arguments, Drawing]:
    """Make a figure of its first argument, or `nothing` where that is empty."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Drawing:
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
    band: bool = False,
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
        alone = [hue, *([look["units"]] if "units" in look else [])]
        for (name, *_), line in points.groupby(alone, observed=True, sort=False) if band else ():
            axes.fill_between(line[x], line["low"], line["high"], color=shades[name], alpha=0.15, linewidth=0)
        if ylabel is None:
            spec = task_spec(points["experiment"].iloc[0].task)
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
            name_ends(axes, last.to_dict())
    legend_below(grid.figure, "" if style else hue)
    return grid


def colours(column: pd.Series) -> dict[str, str]:
    """A colour for each value of a column, the same in every panel; more values than there are colours share some."""
    names = ordered(column).cat.categories
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def name_ends(axes: plt.Axes, ends: Mapping[str, float]) -> None:
    """Write names at the right of a panel, at the heights where their lines end, none over another.

    What a panel is held against (`references`) is named in the same way.

    Args:
        axes: with all lines drawn.
        ends: name to height.
    """
    held = {str(line.get_label()): line.get_ydata()[0] for line in axes.get_lines() if line.get_gid() == "reference"}
    bottom, top = axes.get_ylim()
    wanted = sorted(((height - bottom) / (top - bottom), name) for name, height in (dict(ends) | held).items())
    gap = 0.075
    places = np.array([min(max(height, 0.0), 1.0) for height, _ in wanted])
    for upper in range(1, len(places)):
        places[upper] = max(places[upper], places[upper - 1] + gap)
    places -= max(0.0, places[-1] - 1.0) if len(places) else 0.0
    for lower in range(len(places) - 2, -1, -1):
        places[lower] = min(places[lower], places[lower + 1] - gap)
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    side = {"xycoords": "axes fraction", "va": "center", "fontsize": "small", "annotation_clip": False}
    for place, (_, name) in zip(places, wanted, strict=True):
        axes.annotate(name, (1.06, place), color=INK, **side)
        if name not in held:
            axes.annotate("■", (1.02, place), color=lines[name].get_color(), **side)


@or_nothing
def score_over_steps(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Drawing:
    """Development score against training cost, one line for runs that differ in their seed alone.

    The band is the range of the seeds, or where there is one the standard error of a score. Where a plan has several
    stages, a strip at the foot of the panel shows them. Cost is counted in optimizer steps: a step costs nearly the
    same in every plan, and the seconds of runs that shared a processor cannot be compared.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        hue: column that tells lines apart.
        by: columns that name the panels, after the task.

    Returns:
        The figure.
    """
    points = evaluations(runs).assign(panel=lambda points: joined(points, "task", *by))
    points["line"] = points["experiment"].map(alike)
    lines = spread(points, ["panel", hue, "line", "step", "stage"], "score")
    what = "training (optimizer steps)"
    grid = panels(lines, ["task", *by], "step", "score", hue, xlabel=what, units="line", estimator=None, band=True)
    shades = colours(lines[hue])
    for title, panel in lines.groupby("panel", sort=False):
        axes, strips = grid.axes_dict[title], 0
        axes.set_xlim(left=0)
        for (name, _), line in panel.groupby([hue, "line"], sort=False):
            ends = line.groupby("stage")["step"].max()
            if len(ends) > 1:
                _stages(axes, [0, *ends], shades[as_text(name)], strips)
                strips += 1
    columns = ["task", *by, hue, "step", "stage", "score", "low", "high", "seeds"]
    return Drawing(grid.figure, lines[list(dict.fromkeys(columns))], runs, _BANDS)


def _stages(axes: plt.Axes, ends: Sequence[int], shade: str, strip: int) -> None:
    """A strip at the foot of a panel, a rectangle a stage with its number."""
    place = {"transform": axes.get_xaxis_transform(), "zorder": 0.5}
    low = 0.01 + 0.065 * strip
    for number, (start, end) in enumerate(zip(ends, ends[1:], strict=False), start=1):
        axes.fill_between(
            [start, end], low, low + 0.055, color=shade, alpha=0.2 + 0.25 * (number % 2), linewidth=0, **place
        )
        axes.text(
            (start + end) / 2, low + 0.025, f"stage {number}", ha="center", va="center", fontsize=7, color=INK, **place
        )


def spread(runs: pd.DataFrame, keys: Sequence[str], score: str = "best") -> pd.DataFrame:
    """Means over seeds and how sure they are.

    Args:
        runs: one row a run, or a point of one, with its ``experiment``.
        keys: columns that are the same in runs that differ in their seed alone.
        score: column of their primary metric.

    Returns:
        The first row of each group with the mean ``score``, ``low`` and ``high``: the least and the most over seeds, of
        one seed the score less and plus its standard error where its metric has one; and the number of ``seeds``.
    """
    rows = []
    for _, group in runs.groupby(list(keys), sort=False):
        mean, error = (
            group[score].mean(),
            standard_error(task_spec(group["experiment"].iloc[0].task), group[score].mean()),
        )
        low, high = (
            (mean - (error or 0), mean + (error or 0)) if len(group) == 1 else (group[score].min(), group[score].max())
        )
        rows.append(group.iloc[0].to_dict() | {score: mean, "low": low, "high": high, "seeds": len(group)})
    return pd.DataFrame(rows)


@or_nothing
def score_over_rates(runs: pd.DataFrame, hue: str = "plan", by: Sequence[str] = ("W-E-A",)) -> Drawing:
    """Best development score against the peak learning rate: means over seeds with the seeds as dots, see `spread`.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        hue: column that tells lines apart.
        by: columns that name the panels, after the task.

    Returns:
        The figure.
    """
    runs = runs.assign(panel=joined(runs, "task", *by))
    rates = sorted(runs["learning rate"].unique())
    means = spread(runs, ["panel", hue, "learning rate"])
    grid = panels(means, ["task", *by], "learning rate", "best", hue, xlabel="peak learning rate", band=True)
    for axes in grid.axes_dict.values():
        axes.set_xscale("log")
        axes.set_xlim(rates[0] / 1.3, rates[-1] * 1.3)
        axes.set_xticks(rates, map(as_text, rates), rotation=30 if len(rates) > 4 else 0)
        axes.minorticks_off()
    columns = list(dict.fromkeys(["task", *by, hue, "learning rate", "best", "low", "high", "seeds"]))
    return Drawing(grid.figure, means[columns], runs, _BANDS)


@or_nothing
def compare(runs: pd.DataFrame, across: str | Sequence[str], hue: str | Sequence[str], label: str) -> Drawing:
    """Best development score of what is compared, one panel a task and a row for each of its values.

    A dot is a mean over seeds, the bar through it as `spread` has it, and a grey line joins what stands in one row.
    Where runs differ in learning rate, those of the best rate are shown, see ``xtcq_book.scores.tuned``.

    Args:
        runs: of ``xtcq_book.frame.to_frame``.
        across: columns that name the rows, in the order of the runs.
        hue: columns that tell the dots of a row apart.
        label: what the rows are.

    Returns:
        The figure.

    Raises:
        ValueError: if runs with the same labels differ in more than seed and learning rate.
    """
    across, hue = (_varying(runs, [names] if isinstance(names, str) else list(names)) for names in (across, hue))
    of = ", ".join(hue)
    rates = " Each at the best of its learning rates." if runs["learning rate"].nunique() > 1 else ""
    runs = runs.assign(row=ordered(joined(runs, *across)), **{of: ordered(joined(runs, *hue))})
    runs = tuned(runs)
    if runs.duplicated(["task", "row", of, "seed"]).any():
        raise ValueError("runs with the same labels differ in more than seed and learning rate: name what differs.")
    rows, shades = list(ordered(runs["row"]).cat.categories), colours(runs[of])
    means = spread(runs, ["task", "row", of])
    tasks = list(runs["task"].unique())
    wide, high = min(2, len(tasks)), 1.0 + 0.28 * len(rows) + 0.07 * len(rows) * len(shades)
    figure, grid = plt.subplots(
        -(-len(tasks) // wide), wide, squeeze=False, layout="constrained",
        figsize=(WIDTH * wide, high * -(-len(tasks) // wide)),
    )  # fmt: skip
    offsets = dict(zip(shades, np.linspace(-0.28, 0.28, len(shades)) if len(shades) > 1 else [0.0], strict=True))
    for axes, task in zip(grid.flat, tasks, strict=False):
        found = means[means["task"] == task]
        spec = task_spec(found["experiment"].iloc[0].task)
        for row, compared in found.groupby("row", sort=False, observed=True):
            heights = rows.index(row) + compared[of].map(offsets).astype(float)
            axes.plot(compared["best"], heights, color=GREY, linewidth=0.8, zorder=1)
            for height, one in zip(heights, compared.to_dict("records"), strict=True):
                axes.plot([one["low"], one["high"]], [height] * 2, color=shades[one[of]], linewidth=2.4, alpha=0.35)
                axes.plot(one["best"], height, _MARKERS[list(shades).index(one[of]) % len(_MARKERS)],
                          color=shades[one[of]], label=one[of], zorder=3)  # fmt: skip
        teachers = {one.best[spec.primary_metric]: one for one in found["reference"].dropna()}.values()
        references(axes, spec, teachers, lowest=2 * found["best"].min() - found["best"].max(), across=True)
        axes.set_title(task, loc="left")
        axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        axes.set(xlabel=METRIC_LABELS[spec.primary_metric], ylabel=fill(label, 24))
        axes.grid(visible=False, axis="y")
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    legend_below(figure, of)
    columns = dict.fromkeys(["task", *across, *hue, "learning rate", "best", "low", "high", "seeds"])
    return Drawing(figure, means[list(columns)], runs, _BANDS + rates)


def _varying(runs: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns that tell runs apart; the first one if none does."""
    return [name for name in names if runs[name].nunique() > 1] or names[:1]


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


def references(
    axes: plt.Axes, spec: TaskSpec, teachers: Iterable[Record], lowest: float = -math.inf, across: bool = False
) -> None:
    """Draw what scores of a task are held against: its teacher, dashed, and what no learning gives, dotted.

    Args:
        axes: with scores upwards, or across.
        spec: the task.
        teachers: Records of full-precision teachers. One of another task is not drawn; a band around the line is the
            standard error of the score, where its value gives one.
        lowest: chance below it is not drawn.
        across: whether scores are across.
    """
    line, span = (axes.axvline, axes.axvspan) if across else (axes.axhline, axes.axhspan)
    for teacher in teachers:
        if teacher.experiment.task == spec.name:
            level = teacher.best[spec.primary_metric]
            line(level, linestyle="--", color=GREY, linewidth=1, label="teacher", gid="reference")
            if error := standard_error(spec, level):
                span(level - error, level + error, color=GREY, alpha=0.15, linewidth=0)
    if (level := chance_level(spec)) is not None and level >= lowest:
        line(level, linestyle=":", color=INK, linewidth=1, label="chance", gid="reference")


def legend_below(figure: Figure, title: str = "") -> None:
    """Name what the panels of a figure show, once each, in as many columns as a panel has room for.

    Args:
        figure: its panels have labelled lines; those that are named in the panel itself are left out.
        title: what the lines are.
    """
    written = {text.get_text() for axes in figure.axes for text in axes.texts}
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        if label not in written
    }  # fmt: skip
    if not named:
        return
    # Inches of a handle and of a letter.
    columns = max(1, int(WIDTH / (0.6 + 0.07 * max(map(len, named)))))
    figure.set_layout_engine("constrained")
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, title=title)


def _share(panels: list[plt.Axes]) -> None:
    """Panels that are to be compared with one another get the same axes."""
    for side in ("x", "y"):
        limits = np.array([getattr(axes, f"get_{side}lim")() for axes in panels])
        for axes in panels:
            getattr(axes, f"set_{side}lim")(limits[:, 0].min(), limits[:, 1].max())
