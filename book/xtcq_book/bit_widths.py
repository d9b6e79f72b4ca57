"""Bit-widths that were learned: where they came to rest, and how they got there.

Everywhere here ``runs`` are rows of `xtcq_book.frame.to_frame`; those that learned no widths are left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

import altair as alt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.ticker import MaxNLocator

from xtcq.study.records import Record
from xtcq_book import columns, interactive, provenance
from xtcq_book.columns import MATRICES
from xtcq_book.drawing import Drawing, csv_link, nothing
from xtcq_book.interactive import INK
from xtcq_book.panels import colours, joined, panels

SIDES = ["weights", "activations"]
POOLER = "pooler"
# Bits of the colour scale of a map.
LEAST, MOST = 2, 8
# As many points of a line as a figure can show.
_POINTS = 300
# Numbers and frames on the light cells of a map, whatever the page.
_DRAWN = INK["light"]
# How many decimals the columns of `explored` are worth.
DIGITS = dict.fromkeys(["W", "A", "bits²", "reach"], 2) | {"frozen %": 0, "oscillations": 0, "steps": 0, "η": "{:.3g}"}
_EXPLORED = ["W", "A", "bits²", "frozen %", "oscillations", "steps", "ended", "η", "reach", "unlike the paper"]


def explored(runs: pd.DataFrame, by: str = "widths") -> pd.DataFrame:
    """Where the widths came to rest, one row a run.

    Returns:
        Indexed by ``task``, ``by`` and ``seed``: ``W`` and ``A``, means over the layers without regard to their
        sizes, as AdaQAT-BERT prints them; ``bits²``, the mean of Nw * Na over the weights; ``frozen %``, the share of
        learned widths that had come to rest, in per cent; ``oscillations``, the sum over all widths; ``steps``, those
        of the exploration; ``ended`` by all widths being frozen or by the budget; its rate ``η`` and ``reach``, the
        most bits a step; and in what it was ``unlike the paper``, see ``xtcq.study.regime.judged``.
    """
    rows = []
    for run in _learned(runs).to_dict("records"):
        found = run["record"].exploration
        frozen = [width for side in found["frozen"].values() for width in side]
        row = {name: run[name] for name in ("task", by, "seed", "bits²")}
        row |= {"W": found["mean_weights"], "A": found["mean_activations"], "frozen %": 100 * float(np.mean(frozen))}
        row |= {"oscillations": sum(map(sum, found["oscillations"].values())), "η": found["eta"]}
        row |= {name: found[name] for name in ("steps", "ended", "reach")}
        rows.append(row | {"unlike the paper": "; ".join(found["departures"]) or "nothing"})
    return pd.DataFrame(rows, columns=list(dict.fromkeys(["task", by, "seed", *_EXPLORED]))).set_index(
        ["task", by, "seed"]
    )  # fmt: skip


def _learned(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["record"].map(lambda record: record.exploration is not None).astype(bool)]


def mean_widths(records: Iterable[Record]) -> dict[str, tuple[float, float]]:
    """Mean over runs of the widths of every layer: name to (bits of the weight, bits of the input)."""
    found = pd.concat([pd.DataFrame()] + [pd.DataFrame(record.exploration["widths"]).T for record in records])
    return {name: tuple(pair) for name, pair in found.groupby(level=0, sort=False).mean().T.items()}


def by_matrix(records: Iterable[Record]) -> pd.DataFrame:
    """Mean bits of every kind of ``matrix`` over layers and runs: its ``weights``, and the ``activations`` it reads."""
    means = pd.DataFrame.from_dict(mean_widths(records), orient="index", columns=SIDES, dtype=float)
    kinds = [MATRICES.get(name.partition("encoder.layer.")[2].partition(".")[2], POOLER) for name in means.index]
    return means.groupby(pd.Index(kinds, name="matrix", dtype=object), sort=False).mean()


def bits_by_layer(record: Record, title: str = "") -> HTML:
    """Bits of every matrix of an encoder and of its inputs, one row a layer, the pooler beside the last.

    Args:
        record: of a run whose widths were learned, or chosen one by one.
        title: what tells the run from others on the page.

    Returns:
        A map of the weights and one of their inputs, which answer to a pointer; a cell with a frame did not come to
        rest. Where all widths are equal and at rest, a sentence says so and there is no map.
    """
    cells = _cells(record)
    moving = int((~cells["at rest"]).sum())
    at_least = (cells["bits"] == LEAST).sum()
    said = f"{title or columns.task(record.experiment)}: {at_least} of {len(cells)} widths are {LEAST} bits"
    said += f"; {moving} had not come to rest (framed) and may be where they began." if moving else "."
    below = f"<p>{html.escape(said)}</p>" + csv_link(cells, "bits-by-layer") + provenance.line([record])
    if not moving and at_least == len(cells):
        return HTML(f'<figure class="panels"><figcaption>{below}</figcaption></figure>')
    maps = "".join(
        interactive.html(
            _map(cells[cells["side"] == side], f"bits of {side}"),
            name=f"bits-{record.digest}-{side}",
            says=f"{said} Bits of the {side} of every matrix, one row a layer.",
        )
        for side in SIDES
    )
    return HTML(
        f'<figure class="panels"><div class="side-by-side">{maps}</div><figcaption>{below}</figcaption></figure>'
    )


def _cells(record: Record) -> pd.DataFrame:
    """One row a width: its ``side``, ``layer`` (from 1), ``matrix``, ``bits``, and whether it came to ``rest``."""
    report = record.exploration or {}
    widths = record.experiment.allocation or report.get("widths", {})
    moving = {
        (side, name)
        for side, frozen in report.get("frozen", {}).items()
        for group, rests in zip(report["groups"], frozen, strict=True)
        for name in group
        if not rests
    }
    places = {name: _place(name) for name in widths}
    last = max((layer for layer, _ in places.values() if layer is not None), default=0)
    rows = [
        (
            side,
            1 + (last if places[name][0] is None else places[name][0]),
            places[name][1],
            bits,
            (side, name) not in moving,
        )
        for name, pair in widths.items()
        for side, bits in zip(SIDES, pair, strict=True)
    ]
    return pd.DataFrame(rows, columns=["side", "layer", "matrix", "bits", "at rest"])


def _map(cells: pd.DataFrame, title: str) -> alt.Chart:
    """One side's map."""
    order = [*MATRICES.values(), POOLER]
    colours = sns.color_palette("YlGnBu", MOST - LEAST + 1).as_hex()
    base = alt.Chart(cells, width=290, height=24 * cells["layer"].nunique(), title=title).encode(
        x=alt.X("matrix:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=110, aria=False)),
        y=alt.Y("layer:O", title="encoder layer", axis=alt.Axis(aria=False)),
        tooltip=["matrix:N", "layer:O", "bits:Q", "at rest:N"],
    )
    scale = alt.Scale(domain=list(range(LEAST, MOST + 1)), range=list(colours))
    rests = alt.datum["at rest"]
    squares = base.mark_rect(aria=False, strokeWidth=2, stroke=_DRAWN).encode(
        color=alt.Color("bits:O", scale=scale, legend=None),
        strokeOpacity=alt.condition(rests, alt.value(0), alt.value(1)),
    )
    dark = alt.datum.bits > (LEAST + MOST) / 2
    return squares + base.mark_text(aria=False, fontSize=11).encode(
        text="bits:Q", color=alt.condition(dark, alt.value("#ffffff"), alt.value(_DRAWN))
    )


def _place(name: str) -> tuple[int | None, str]:
    """Layer and column of a module; the pooler has no layer."""
    found = re.fullmatch(r"(?:.*\.)?encoder\.layer\.(\d+)\.(.+)", name)
    return (int(found[1]), MATRICES[found[2]]) if found else (None, POOLER)


def width_traces(runs: pd.DataFrame, by: Sequence[str] = ()) -> Drawing:
    """Fractional widths over the steps of AdaQAT's exploration, one panel a run; a cross where a width froze.

    A width of the whole network has the integers in use as a faint step line behind it.
    """
    runs = _learned(runs)
    if runs.empty:
        return nothing()
    lines = [
        {"run": run, "side": SIDES[side], "group": group, "step": step, "width": width}
        for run, record in runs["record"].items()
        for step, side, group, width in record.exploration["trace"]
    ]
    points = _thinned(pd.DataFrame(lines)).merge(runs, left_on="run", right_index=True)
    points["line"] = joined(points, "run", "side", "group")
    points["in use"] = np.ceil(points["width"])
    look = {"units": "line", "estimator": None, "markers": False, "linewidth": 0.8}
    what = {"xlabel": "exploration (optimizer steps)", "ylabel": "width (bits)"}
    of_network = [record.exploration["granularity"] == "network" for record in runs["record"]]
    reach = "in use" if all(of_network) else None
    grid = panels(points, ["task", *by], "step", "width", "side", reach=reach, **what, **look)
    points["panel"] = joined(points, "task", *by)
    for (title, side, group, _), line in points.groupby(["panel", "side", "group", "line"], sort=False):
        axes, colour = grid.axes_dict[title], colours(points["side"])[side]
        report, in_use = line["record"].iloc[0].exploration, line["in use"]
        if report["granularity"] == "network":
            axes.step(line["step"], in_use, where="post", color=colour, alpha=0.3, linewidth=2)
        if report["frozen"][side][group]:
            axes.plot(line["step"].iloc[-1], in_use.iloc[-1], marker="X", color=colour, markersize=6, zorder=3)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return Drawing(grid.figure, points[["task", *by, "seed", "side", "group", "step", "width"]], runs)


def _thinned(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of thousands of points with as many as a figure can show: every so manyeth, and the last."""
    place = lines.groupby(["run", "side", "group"]).cumcount()
    size = lines.groupby(["run", "side", "group"])["step"].transform("size")
    return lines[(place % -(-size // _POINTS) == 0) | (place == size - 1)]


def mean_traces(runs: pd.DataFrame, by: str = "widths") -> Drawing:
    """Mean width in use of weights and of activations over the steps of the exploration, one panel a task.

    Solid lines are weights, dashed ones activations: integers in use, averaged over layers; ``by`` tells them apart.
    """
    runs = _learned(runs)
    if runs.empty:
        return nothing()
    means = pd.concat([_mean_widths(record).assign(run=run) for run, record in runs["record"].items()])
    points = means.merge(runs, left_on="run", right_index=True)
    what = {"xlabel": "exploration (optimizer steps)", "ylabel": "mean width (bits)"}
    look = {"drawstyle": "steps-post", "markers": False, "estimator": None, "units": "run"}
    figure = panels(points, ["task"], "step", "width", by, style="side", **what, **look).figure
    return Drawing(figure, points[["task", by, "seed", "side", "step", "width"]], runs)


def _mean_widths(record: Record) -> pd.DataFrame:
    """The mean integer width of each side after every step that changed one, from a uniform start."""
    report, start = record.exploration, record.experiment.quantization.precision
    layers = np.array([len(group) for group in report["groups"]])
    points = []
    for side, bits in enumerate((start.weights, start.activations)):
        now = np.full(len(layers), float(bits))
        points.append({"side": SIDES[side], "step": 0, "width": float(bits)})
        for step, role, group, value in report["trace"]:
            if role == side:
                now[group] = np.ceil(value)
            points.append({"side": SIDES[side], "step": step + 1, "width": np.average(now, weights=layers)})
    frame = pd.DataFrame(points)
    still = frame["width"] == frame.groupby("side")["width"].shift()
    return frame[~still | (frame["step"] == frame["step"].max())]
