"""Figures of bit-widths: one cell a matrix, and lines over the steps of a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xtcq.quantization import Precision
from xtcq.study.records import Record
from xtcq_book import labels
from xtcq_book.labels import MATRICES, Label
from xtcq_book.plots import or_nothing

SIDES = ("weights", "activations")
_POOLER = "pooler.dense"
_IN_LAYER = re.compile(r"(?:.*\.)?encoder\.layer\.(\d+)\.(.+)")


@or_nothing
def bits_by_layer(
    widths: Mapping[str, tuple[float, float]], least: int = 2, most: int = 8, title: str | None = None
) -> Figure:
    """Bits of every matrix of an encoder and of its inputs, one row a layer, the pooler beside the last.

    Args:
        widths: module name to (bits of the weight, bits of the input); means over runs may be fractional.
        least: smallest width of the colour scale.
        most: largest width of the colour scale.
        title: what stands above, for example the method and its budget.

    Returns:
        The figure, weights and activations side by side.

    Raises:
        ValueError: a module that is no matrix of a BERT encoder or its pooler, or a width beyond the scale.
    """
    tables = _tables(widths)
    rows, columns = tables[0].shape
    colours = ListedColormap(sns.color_palette("YlGnBu", most - least + 1))
    norm = BoundaryNorm(np.arange(least, most + 2) - 0.5, colours.N)
    outside = [pair for pair in widths.values() if not all(least <= bits <= most for bits in pair)]
    if outside:
        raise ValueError(f"widths {outside[0]} are beyond the scale of {least} to {most} bits: widen it")
    figure, panels = plt.subplots(1, 2, layout="constrained", figsize=(7.2, 0.34 * rows + 1.9), sharey=True)
    names = [*MATRICES.values(), "", "pooler"][:columns]
    for axes, table, side in zip(panels, tables, SIDES, strict=True):
        image = axes.imshow(np.ma.masked_invalid(table), cmap=colours, norm=norm, aspect="auto")
        for (row, column), bits in np.ndenumerate(table):
            if np.isfinite(bits):
                dark = bits > (least + most) / 2
                text = f"{bits:.0f}" if bits == round(bits) else f"{bits:.1f}"
                axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
        axes.set_xticks([i for i, name in enumerate(names) if name], [name for name in names if name])
        axes.tick_params("x", labelrotation=45)
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), range(rows))
        axes.grid(False)
        sns.despine(ax=axes, left=True, bottom=True)
        axes.set_title(side, fontsize="medium")
    panels[0].set_ylabel("encoder layer")
    bar = figure.colorbar(image, ax=panels, label="bits", ticks=range(least, most + 1), fraction=0.04)
    bar.minorticks_off()
    bar.outline.set_visible(False)
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def _tables(widths: Mapping[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Weights and inputs as [layers, matrices], a pooler one column apart; NaN where nothing is."""
    places: dict[str, tuple[int, int]] = {}
    matrices = list(MATRICES)
    for name in widths:
        if (found := _IN_LAYER.fullmatch(name)) and found[2] in MATRICES:
            places[name] = (int(found[1]), matrices.index(found[2]))
        elif not name.endswith(_POOLER):
            raise ValueError(f"{name!r} is no matrix of a BERT encoder: draw those of get_widths(model)")
    layers = 1 + max((row for row, _ in places.values()), default=0)
    poolers = [name for name in widths if name not in places]
    places |= {name: (layers - 1, len(matrices) + 1) for name in poolers}
    tables = np.full((2, layers, len(matrices) + 2 * bool(poolers)), np.nan)
    for name, place in places.items():
        tables[:, place[0], place[1]] = widths[name]
    return tables[0], tables[1]


@or_nothing
def width_traces(reports: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Fractional widths over the steps of AdaQAT's exploration, one panel a report; a mark where a width froze.

    Widths of the whole network are two lines, with the integers in use as a faint step line behind each; widths of
    layers are one thin line each.

    Args:
        reports: title of a panel to `AdaQAT.report`.

    Returns:
        The figure: two panels side by side, the next two below.
    """
    columns = min(2, len(reports))
    rows = -(-len(reports) // columns)
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, sharey=True, layout="constrained", figsize=(7.2, 2.6 * rows + 0.6)
    )
    for axes in grid.flat[len(reports) :]:
        axes.set_visible(False)
    looks = dict(zip(SIDES, sns.color_palette("colorblind"), strict=False))
    for axes, (title, report) in zip(grid.flat, reports.items(), strict=False):
        lines = _lines(report)
        for (side, layer), points in lines.items():
            steps, values = zip(*points, strict=True)
            alone = report["granularity"] == "network"
            if alone:
                axes.step(steps, np.ceil(values), where="post", color=looks[side], alpha=0.3, linewidth=2)
            axes.plot(steps, values, color=looks[side], linewidth=1.2 if alone else 0.7, alpha=1 if alone else 0.7)
            if report["frozen"][side][layer]:
                bits = np.ceil(values[-1])
                axes.plot(steps[-1], bits, marker="X", color=looks[side], markersize=8 if alone else 4, zorder=3)
        axes.set_title(title, fontsize="medium")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("width (bits)")
    for axes in grid[-1]:
        axes.set_xlabel("exploration (optimizer steps)")
    named = [Line2D([], [], color=colour, label=side) for side, colour in looks.items()]
    named.append(Line2D([], [], color="grey", marker="X", linestyle="", label="frozen, at the integer in use"))
    figure.legend(handles=named, loc="outside lower center", ncols=3, frameon=False)
    return figure


@or_nothing
def mean_traces(records: list[Record], by: Label = labels.widths) -> Figure:
    """Mean width of weights and of activations over the steps of the exploration, one panel a task.

    Args:
        records: Records of students that learned a width for every layer, or for groups of layers.
        by: what tells the lines of a panel apart.

    Returns:
        The figure: solid lines are weights, dashed ones activations; integers in use, averaged over layers.
    """
    tasks = list(dict.fromkeys(labels.task(record.experiment) for record in records))
    names = list(dict.fromkeys(by(record.experiment) for record in records))
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, sharey=True, layout="constrained", figsize=(3.8 * columns, 2.7 * rows + 0.6)
    )
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    looks = dict(zip(names, sns.color_palette("colorblind"), strict=False))
    for record in records:
        axes = grid.flat[tasks.index(labels.task(record.experiment))]
        start = Precision.parse(record.experiment.precision)
        for side, bits, line in zip(SIDES, (start.weights, start.activations), ("-", "--"), strict=True):
            steps, means = _mean_widths(record.exploration, side, bits)
            axes.step(steps, means, line, where="post", color=looks[by(record.experiment)])
    for axes, task in zip(grid.flat, tasks, strict=False):
        axes.set_title(task, fontsize="medium")
    for axes in grid[:, 0]:
        axes.set_ylabel("mean width (bits)")
    for axes in grid[-1]:
        axes.set_xlabel("exploration (optimizer steps)")
    named = [Line2D([], [], color=colour, label=str(name)) for name, colour in looks.items()]
    named += [Line2D([], [], color="grey", linestyle=line, label=side) for side, line in zip(SIDES, "- --".split())]
    figure.legend(handles=named, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mean_widths(report: Mapping[str, Any], side: str, bits: int) -> tuple[list[int], list[float]]:
    """Steps and the mean integer width of one side after each of them, from a uniform start."""
    # Reports of before the groups had none but single layers here.
    layers = np.array([len(group) for group in report.get("groups", [[name] for name in report["widths"]])])
    now = np.full(len(layers), float(bits))
    steps, means = [0], [float(bits)]
    for step, role, group, value in report["trace"]:
        if SIDES[role] == side:
            now[group] = np.ceil(value)
        steps.append(step + 1)
        means.append(np.average(now, weights=layers))
    return steps, means


def _lines(report: Mapping[str, Any]) -> dict[tuple[str, int], list[tuple[int, float]]]:
    """Points (step, N) of every learned width, by side and layer."""
    lines: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for step, role, layer, value in report["trace"]:
        lines.setdefault((SIDES[role], layer), []).append((step, value))
    return lines
