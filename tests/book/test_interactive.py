import json
import re

import altair as alt
import pandas as pd
import pytest
from xtcq_book.interactive import COLOURS, INK, html, still

PAGES = {"light": "#ffffff", "dark": "#14181e"}


def contrast(one, other):
    """Of two colours, after WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def chart():
    points = pd.DataFrame({"MiB": [4.2, 5.8], "lost": [-3, -1], "name": ["</script>", "b"]})
    mark = alt.Chart(points).mark_circle(clip=True)
    return mark.encode(x="MiB:Q", y="lost:Q", tooltip="name").properties(width=300, height=200)


@pytest.mark.parametrize("theme", PAGES)
def test_marks_and_text_stand_out_from_the_page(theme):
    assert min(contrast(colour, PAGES[theme]) for colour in COLOURS.values()) >= 3
    assert contrast(INK[theme], PAGES[theme]) >= 7


def test_a_still_picture_has_no_background_and_the_ink_that_is_asked_for(chart):
    picture = still(chart, "#123456")
    assert "currentColor" not in picture and "#123456" in picture
    assert not re.search(r'<rect[^>]*fill="(white|#fff)', picture)


def test_a_figure_holds_what_draws_it_and_nothing_of_it_ends_the_script(chart):
    page = html(chart, "sizes", 'Lost "points".', "A caption.")
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    spec = json.loads(data)
    assert spec["description"] == 'Lost "points".'
    assert any(signal["name"] == "width" and "containerSize" in str(signal) for signal in spec["signals"])
    assert 'aria-label="Lost &quot;points&quot;."' in page and ">A caption.</figcaption>" in page


def test_the_clip_paths_of_two_figures_of_a_page_do_not_meet(chart):
    ids = [set(re.findall(r'id="([^"]*clip[^"]*)"', html(chart, name, ""))) for name in ("one", "two")]
    assert all(ids) and not ids[0] & ids[1]
