import re
from pathlib import Path

import matplotlib.pyplot as plt
import pydata_sphinx_theme
import pytest
import sphinx_book_theme
from xtcq_book import panels, plots, svg


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def backgrounds():
    """Those of a light and of a dark page, as the theme's own rules have them."""
    found = set()
    for theme in (pydata_sphinx_theme, sphinx_book_theme):
        for sheet in Path(theme.__file__).parent.rglob("*.css"):
            found |= set(re.findall(r"--pst-color-background:\s*(#[0-9a-fA-F]{3,6})\b", sheet.read_text()))
    return {colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:]) for colour in found}


def test_the_palette_is_told_from_every_page():
    pages = backgrounds()
    assert min(map(luminance, pages)) < 0.02 and max(map(luminance, pages)) > 0.9
    assert {colour: page for colour in (*svg.PALETTE, svg.GREY) for page in pages if contrast(colour, page) < 3} == {}
    assert len(set(svg.PALETTE)) == len(svg.PALETTE)


@pytest.fixture
def figure():
    plt.switch_backend("agg")
    plots.use_style()
    figure, axes = plt.subplots(1, 2)
    axes[0].plot([0, 1], [0.123456, 1], "o-", label="a line")
    axes[0].set(xlabel="0.123456", title="left")
    axes[1].fill_between([0, 1], [0, 1], [1, 2])
    axes[1].set(title="right")
    panels.legend_below(figure, "lines")
    yield figure
    plt.close("all")


def test_a_panel_is_a_picture_in_the_pages_colour_and_letters(figure):
    left, right, legend = svg.panels(figure)
    for picture, own in ((left, "left"), (right, "right"), (legend, "a line")):
        assert picture.startswith("<svg viewBox=") and own in picture
        assert "currentColor" in picture and svg.INK not in picture
        for whole_page in ("<style", "font-family", "<?xml", "<metadata", "url(#p", 'fill: #ffffff"'):
            assert whole_page not in picture
    assert "right" not in left and "left" not in right.replace("left-", "")
    # Coordinates have one decimal, and what is written keeps its digits.
    assert "0.123456" in left and not re.search(r' d="[^"]*\d\.\d\d', left)


def test_names_inside_a_picture_are_its_own(figure):
    pictures = svg.panels(figure)
    named = [set(re.findall(r' id="([^"]+)"', picture)) for picture in pictures]
    asked = [set(re.findall(r'(?:url\(#|href="#)([^")]+)', picture)) for picture in pictures]
    assert named == asked and named[0] and not named[0] & named[1]


def test_panels_of_a_grid_are_equally_wide_on_a_phone(figure):
    boxes = [list(map(float, re.search(r'viewBox="([^"]+)"', one)[1].split()))[2:] for one in svg.panels(figure)]
    assert boxes[0] == pytest.approx(boxes[1], abs=0.5)
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", "".join(svg.panels(figure)))]
    # A phone has 328 pixels between its margins.
    assert min(sizes) * 328 / boxes[0][0] >= 10


def test_a_legend_has_letters_of_the_size_of_its_panels(figure):
    left, _, legend = svg.panels(figure)
    shares = [float(re.search(r"width: (\d+)%", picture)[1]) / 100 for picture in (left, legend)]
    wide = [float(re.search(r'viewBox="([^"]+)"', picture)[1].split()[2]) for picture in (left, legend)]
    assert shares[0] == 1 and shares[1] == pytest.approx(wide[1] / wide[0], abs=0.01)


def test_the_same_figure_is_the_same_text(figure):
    assert svg.panels(figure) == svg.panels(figure)
