"""Figures that a reader can point at: a Vega-Lite chart as a still picture, and as what a script puts in its place."""

from __future__ import annotations

import json
import re
from html import escape

import altair as alt
import vl_convert

# Colours that stand out, at least 3 to 1, from the white and from the dark page; text takes the page's own colour.
COLOURS = {"blue": "#2f86c6", "orange": "#cf6a1e", "green": "#16966f", "pink": "#b668a8", "grey": "#808080"}
# The colour of text where a picture stands alone and cannot ask the page.
INK = {"light": "#1f2328", "dark": "#e6e6e6"}
_PAGE = "currentColor"
_CAPTION = '"text-align: left; font-size: 0.85em; color: var(--pst-color-text-base, inherit); font-weight: 400"'
_FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_WRITTEN = {
    kind: {
        "labelColor": _PAGE,
        "titleColor": _PAGE,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    for kind in ("axis", "legend")
}
CONFIG = {
    **_WRITTEN,
    "background": None,
    "font": _FONT,
    "axis": _WRITTEN["axis"]
    | {"domainColor": _PAGE, "tickColor": _PAGE, "gridColor": _PAGE, "gridOpacity": 0.15, "domainOpacity": 0.5},
    "view": {"stroke": None},
    "text": {"color": _PAGE, "fontSize": 12},
    "title": {"color": _PAGE, "fontSize": 11, "fontWeight": "normal", "anchor": "start"},
}


def compiled(chart: alt.TopLevelMixin, **fields: object) -> dict:
    """The chart, which has no configuration of its own, as Vega in the book's style.

    ``fields`` are top-level fields of its specification that shall differ, such as ``width="container"``.
    """
    spec = chart.to_dict() | {"config": CONFIG} | fields
    return vl_convert.vegalite_to_vega(spec, vl_version=alt.VEGALITE_VERSION.rpartition(".")[0])


def still(chart: alt.TopLevelMixin, ink: str = _PAGE) -> str:
    """The chart as the text of an SVG file with a transparent background.

    ``ink`` is the colour of text and axes, by default that of the page around an inlined picture; see `INK` for others.
    """
    return vl_convert.vega_to_svg(compiled(chart)).replace(_PAGE, ink)


def html(chart: alt.TopLevelMixin, name: str, says: str, caption: str = "") -> str:
    """The chart for a page: its still picture, and where scripts run the same to point at and click.

    Args:
        chart: of altair, a single view with a width of its own; its links are written from the top of the book.
        name: tells the figures of a page apart.
        says: what a reader who does not see it has to know.
        caption: HTML below it.

    Returns:
        HTML that works at any depth of the book, and from a folder.
    """
    # Names of clip paths are those of the whole page.
    picture = re.sub(r"\b(clip|gradient_?)(\d+)\b", rf"{name}-\1\2", still(chart))
    picture = picture.replace("<svg", f'<svg role="img" aria-label="{escape(says)}" style="width:100%;height:auto"', 1)
    data = json.dumps(compiled(chart, width="container", description=says)).replace("</", "<\\/")
    return (
        f'<figure class="interactive" id="{name}" style="margin: 0 0 1rem; max-width: 42rem"><div>{picture}</div>'
        f"{f'<figcaption style={_CAPTION}>{caption}</figcaption>' if caption else ''}"
        f'<script type="application/json">{data}</script></figure>'
        "<script>document.head.append(Object.assign(document.createElement('script'), {src: "
        "(document.documentElement.dataset.content_root || './') + '_static/vega/figures.js'}))</script>"
    )
