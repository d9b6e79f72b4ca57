"""A figure of the book: its style, what it shows and where that comes from, and how a page shows it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import ParamSpec

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure

from xtcq_book import provenance, svg
from xtcq_book.svg import GREY, HEIGHT, INK, PALETTE, WIDTH

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Drawing:
    """A figure, with what it shows and where that comes from.

    Attributes:
        figure: the figure; None where there is nothing to draw, which the note then says.
        data: what it shows, one row a point, for a reader to take away.
        source: of the numbers, see ``xtcq_book.provenance``; None where whoever shows it has to say that.
        note: how to read it, where its labels do not say.
    """

    figure: Figure | None
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
    sizes = dict.fromkeys(("axes.labelsize", "axes.titlesize", "font.size", "legend.title_fontsize"), 9.5)
    plt.rcParams.update(sizes | dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9))


def show(drawn: Drawing | Figure, alt: str, source: provenance.Source | None = None) -> HTML:
    """Put a figure on the page: its panels side by side where there is room, what they show as CSV, and the source.

    The figure is closed; ``alt`` is what it shows, for a reader who cannot see it.

    Raises:
        ValueError: a figure that does not say where it comes from.
    """
    drawn = Drawing(drawn) if isinstance(drawn, Figure) else drawn
    source = provenance.stated(drawn.source if source is None else source, f"figure «{alt}»")
    if drawn.figure is None:
        return HTML(f"<p>{html.escape(drawn.note)}</p>")
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
    """No figure, and the sentence that stands in its place."""
    return Drawing(None, source=(), note=text)


def or_nothing(draw: Callable[Arguments, Drawing]) -> Callable[Arguments, Drawing]:
    """Make a figure of its first argument, or `nothing` where that is empty."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Drawing:
        return draw(*arguments, **named) if len(arguments[0]) else nothing()

    return drawn
