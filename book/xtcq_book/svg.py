"""A matplotlib figure as SVG for a page: a picture a panel, in the colours of whatever page it stands on.

A figure of several panels is too wide for a phone, and a page that is turned dark changes under a picture. So each
panel is a picture of its own, as wide as a phone, which a page lays side by side where it has room; text and axes take
the page's colour, and the palette can be told from a white and from a black page alike.
"""

from __future__ import annotations

import hashlib
import io
import re

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Colours that colour-blind readers can tell apart (seaborn's, with yellow and the pale ones made darker): each has a
# contrast of 3 or more to the background of a light page and to that of a dark one.
PALETTE = ("#0b7bbd", "#c97a04", "#03976d", "#d55e00", "#c06cb0", "#a9743f", "#7d7d86", "#2f9bd4")
# Stands for the page's own colour of text.
INK = "#0a0b0c"
GREY = "#7d7d86"
_CURRENT = "currentColor"
# Inches of a panel: a phone shows its letters in their own size.
WIDTH, HEIGHT = 3.2, 2.3


def panels(figure: Figure) -> list[str]:
    """The panels of a figure, and then what stands beside them, such as a legend.

    It is laid out once, as it would be drawn whole. Each is an ``<svg>`` element without size, whose ids no other
    figure of a page has.
    """
    figure.canvas.draw()
    figure.set_layout_engine("none")
    seen = [axes for axes in figure.axes if axes.get_visible()]
    boxes = [_inches(figure, axes.get_window_extent()) for axes in seen]
    tight = [_inches(figure, axes.get_tightbbox()) for axes in seen]
    # The same margins for all, so that the panels of a grid stay equal.
    least, most = np.zeros(2), np.zeros(2)
    for box, near in zip(boxes, tight, strict=True):
        least, most = np.maximum(least, box.min - near.min), np.maximum(most, near.max - box.max)
    parts: list[tuple[Artist, Bbox]] = [
        (axes, Bbox([box.min - least, box.max + most])) for axes, box in zip(seen, boxes, strict=True)
    ]
    beside: list[Artist] = [*figure.legends, *figure.texts]
    parts += [(artist, _inches(figure, artist.get_window_extent())) for artist in beside]
    parts = [(artist, box.padded(0.03)) for artist, box in parts]
    pictures = []
    for artist, box in parts:
        for other, _ in parts:
            other.set_visible(other is artist)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, bbox_inches=box, metadata={"Date": None})
        pictures.append(file.getvalue())
    for artist, _ in parts:
        artist.set_visible(True)
    name = hashlib.sha256("".join(pictures).encode()).hexdigest()[:6]
    # What stands beside the panels has letters of the same size as they.
    shares = [min(1.0, box.width / parts[0][1].width) for _, box in parts]
    return [
        _cleaned(picture, f"f{name}{number}-", share)
        for number, (picture, share) in enumerate(zip(pictures, shares, strict=True))
    ]


def _inches(figure: Figure, box: Bbox) -> Bbox:
    return box.transformed(figure.dpi_scale_trans.inverted())


def _cleaned(text: str, prefix: str, share: float) -> str:
    """The element alone: its ids unlike any other's, its text in the page's font and colour, no needless digits."""
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    asked = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}{found[1]}"' * (found[1] in asked), text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", text)
    # A page's own letters, and none of the rules that would be the whole page's.
    text = re.sub(
        r" font-family: [^;\"]*;|<style.*?</style>| transform=\"rotate\(-0 [^\"]*\"", "", text, flags=re.DOTALL
    )
    text = re.sub(re.escape(INK), _CURRENT, text)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" aria-hidden="true" style="width: {share:.0%}">',
        text,
        count=1,
    )
    text = re.sub(r' xmlns:xlink="[^"]*"| version="1.1"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(?<= )(d|x|y|x1|x2|y1|y2|width|height|points|transform)="[^"]*"', _rounded, text)
    return re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", text)).strip()


def _rounded(found: re.Match[str]) -> str:
    return re.sub(r"(\d+\.\d)\d+", r"\1", found[0])
