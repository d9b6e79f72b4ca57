import io
import json
import shutil
from pathlib import Path

import numpy as np
import pydata_sphinx_theme
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from matplotlib.image import imread
from pages.head import CARD, HIGH, PICTURE, WIDE, describe, draw_card
from pages.icons import keep_icons
from pages.page import Page, text_of
from pages.previews import preview
from pages.scripts import OutsideError, lighten
from pages.search import write_search
from pages.tables import label_tables

FRAME = """<!DOCTYPE html><html lang="en"><head><title>One — Book</title>{head}</head>
<body><main id="main-content"><article class="bd-article">{body}</article></main></body></html>"""
THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"


def make_page(body, name="book/one.html", head=""):
    """A page as the theme writes one, with what stands in its article and its head."""
    return Page(name, BeautifulSoup(FRAME.format(head=head, body=body), "html.parser"))


HEAD = """<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<script>const THEBE_JS_URL = "https://unpkg.com/thebe"</script><script async src="../_static/sphinx-thebe.js"></script>
<script src="../_static/page.js"></script><script src="../_static/page.js"></script>
<link rel="preload" as="script" href="../_static/scripts/bootstrap.js">
<script defer src="../_static/scripts/bootstrap.js"></script><link rel="canonical" href="https://example.org/one.html">"""


def test_what_is_used_is_loaded_once():
    page = make_page("<p>Text</p>", head=HEAD)
    lighten(page)
    assert [script["src"] for script in page.soup.select("script")] == [
        "../_static/page.js",
        "../_static/scripts/bootstrap.js",
    ]


def test_badge_becomes_text():
    page = make_page(
        '<p><a href="https://example.org/n"><img alt="Open in Colab" src="https://example.org/b.svg"></a></p>'
    )
    lighten(page)
    link = page.soup.select_one("article a")
    assert (link.get_text(), link["class"], link.img) == ("Open in Colab", ["badge-link"], None)


@pytest.mark.parametrize(
    "part",
    [
        '<img src="https://example.org/i.png">',
        '<script src="//example.org/s.js"></script>',
        '<iframe src="http://e.org">',
    ],
)
def test_what_would_come_from_elsewhere_is_refused(part):
    with pytest.raises(OutsideError, match=r"book/one.html would load .*book/_static"):
        lighten(make_page(part))


SPANNING = """<h2>Results</h2><table border="1"><thead>
<tr><th></th><th></th><th colspan="2">ours</th></tr>
<tr><th>task</th><th>bits</th><th>best</th><th>last</th></tr></thead><tbody>
<tr><th rowspan="2">RTE</th><th>1</th><td>60.1</td><td>59.0</td></tr>
<tr><th>2</th><td>61.2</td><td>61.2</td></tr></tbody></table>"""


def labelled(body):
    page = make_page(body)
    label_tables(page)
    return page


def cells(page, text):
    return [cell for cell in page.soup.select("th, td") if cell.get_text() == text]


def test_cells_carry_the_names_of_their_columns_also_behind_a_cell_that_spans_rows():
    page = labelled(SPANNING)
    assert [cells(page, text)[0]["data-label"] for text in ("60.1", "59.0")] == ["ours, best", "ours, last"]
    assert [cells(page, text)[0]["data-label"] for text in ("RTE", "1", "2")] == ["task", "bits", "bits"]


def test_first_column_is_the_first_place_and_not_the_first_cell_of_a_row():
    page = labelled(SPANNING)
    assert [cell.get_text() for cell in page.soup.select(".first-column")] == ["", "task", "RTE"]


def test_headers_have_scopes_and_empty_ones_are_none():
    page = labelled(SPANNING)
    assert cells(page, "")[0].name == "td"
    assert [cells(page, text)[0]["scope"] for text in ("ours", "best", "RTE", "1")] == [
        "colgroup",
        "col",
        "rowgroup",
        "row",
    ]


def test_scroller_has_a_name_and_takes_the_place_of_the_themes():
    page = labelled(f'<div class="pst-scrollable-table-container">{SPANNING}</div>')
    assert page.soup.select_one("table").parent["class"] == ["table-scroll"]
    assert page.soup.select_one(".table-scroll")["aria-label"] == "Table in “Results”"
    assert not page.soup.select(".pst-scrollable-table-container")


def test_prose_becomes_cards_but_what_a_details_hides_is_not_long():
    table = "<table><tbody><tr><td>{}</td></tr></tbody></table>"
    page = labelled(
        table.format("word " * 40) + table.format("<details><summary>more</summary>" + "word " * 40 + "</details>")
    )
    assert ["as-cards" in scroll["class"] for scroll in page.soup.select(".table-scroll")] == [True, False]


def test_columns_of_words_are_marked_and_long_ones_get_room():
    row = "<tr><td>{}</td><td>{}</td><td>{}</td><td>-0.4 [-1.0, 0.2]</td></tr>"
    first = row.format("two words", "84.1", "good reason " * 9)
    rows = first + row.format("three more words", "accuracy", "another reason")
    page = labelled(f"<table><thead>{row.format('name', 'score', 'why')}</thead><tbody>{rows}</tbody></table>")
    assert [cell["class"][-1] for cell in page.soup.select("thead .words")] == ["words", "long"]
    assert len(page.soup.select("tbody .words")) == 4


def test_names_of_the_index_stand_in_the_header_and_not_below_it():
    head = "<thead><tr><th></th><th></th><th>{}</th></tr><tr><th>task</th><th>bits</th><th>{}</th></tr></thead>"
    row = "<tbody><tr><th>RTE</th><th>1</th><td>60.1</td></tr></tbody>"
    page = labelled(f"<table>{head.format('best', '')}{row}</table><table>{head.format('ours', 'best')}{row}</table>")
    joined, two_levels = page.soup.select("thead")
    assert [cell.get_text() for cell in joined.find_all(["td", "th"])] == ["task", "bits", "best"]
    assert len(two_levels.find_all("tr")) == 2


def test_short_labels_of_a_row_are_not_broken():
    page = labelled("<table><tbody><tr><th>2-2-8</th></tr><tr><th>published order, unpaired</th></tr></tbody></table>")
    assert ["short" in cell["class"] for cell in page.soup.select(".first-column")] == [True, False]


SECTIONS = """<section id="one"><h1>One<a class="headerlink" href="#one">#</a></h1>
<p><a class="badge-link" href="x">Open in Colab</a></p><p>Weights of 1-1-8.</p>
<section id="two"><h2>Two</h2><div><pre>QuantLinear(8)</pre><p>Prose.</p></div>
<div><table><tr><td>84.0</td><td>83.4</td></tr></table></div></section></section>"""
FORM = '<div class="bd-search-container"><form action="#"></form><div id="search-results"></div></div>'


def test_every_section_has_its_own_text_without_buttons(tmp_path):
    (tmp_path / "_static").mkdir()
    pages = {page.name: page for page in (make_page(SECTIONS), make_page(FORM, name="search.html"))}
    write_search(pages, tmp_path)
    written = (tmp_path / "_static/search-text.js").read_text()
    assert json.loads(written.removeprefix("const SECTIONS = ").rstrip(";\n")) == [
        {"page": "One", "heading": "One", "url": "book/one.html", "text": "Weights of 1-1-8.", "data": ""},
        {
            "page": "One",
            "heading": "Two",
            "url": "book/one.html#two",
            "text": "Prose.",
            "data": "QuantLinear(8) 84.0 83.4",
        },
    ]
    soup = pages["search.html"].soup
    assert [script["src"] for script in soup.select("script")][-1] == "_static/search.js"
    assert soup.select_one("form")["action"] == "search.html"


OTHER = """<section id="other"><h1>Other<a class="headerlink" href="#other">#</a></h1>
<p>Short.</p><p>A formula such as <span class="math">\\(x\\)</span> cannot be shown in a small window.</p>
<p>This is the first paragraph that says what the page is about.</p>
<section id="part"><h2>Part</h2><p>What the part says, in a sentence that is long enough.</p></section>
<dl><dt id="term-width">width</dt><dd><p>Bits of a number.</p></dd></dl>
<div class="citation" id="id2"><span class="label">[2]</span><p>Ann Author. A title. 2022.</p></div></section>"""


def previews(body):
    page, other = make_page(body), make_page(OTHER, name="book/executed/other.html")
    preview({page.name: page, other.name: other})
    data = page.soup.select_one("#previews")
    return json.loads(data.string) if data else {}


def test_links_to_pages_sections_terms_and_references():
    hrefs = [f"executed/other.html{fragment}" for fragment in ("", "#part", "#term-width", "#id2")]
    said = previews("".join(f'<a href="{href}" title="old">x</a>' for href in hrefs))
    assert said == {
        hrefs[0]: ["Other", "This is the first paragraph that says what the page is about."],
        hrefs[1]: ["Part", "What the part says, in a sentence that is long enough."],
        hrefs[2]: ["width", "Bits of a number."],
        hrefs[3]: ["", "Ann Author. A title. 2022."],
    }


def test_nothing_is_shown_for_what_leads_elsewhere_or_nowhere():
    assert not previews('<a href="https://example.org/x">x</a><a href="gone.html">x</a><a href="#no">x</a>')


def test_a_description_is_the_opening_cut_after_a_word():
    page = make_page(f"<h1>One</h1><p>{'word ' * 100}</p>")
    describe(page)
    said = page.soup.select_one("meta[name=description]")["content"]
    assert said.endswith("word…") and len(said) <= 200
    assert page.soup.title.string == "One — Book"


def test_text_of_a_cell_keeps_words_apart_and_leaves_comments_out():
    page = make_page("<p>one<br>two <!-- no --><b>thr</b>ee</p>")
    assert text_of(page.article) == "one two three"


def test_a_shared_link_shows_the_first_figure_beside_the_title(tmp_path):
    figure = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" viewBox="0 0 40 40">{}</svg>'
    (tmp_path / PICTURE).parent.mkdir(parents=True)
    (tmp_path / PICTURE).write_text(figure.format('<rect width="40" height="40" fill="#ff0000"/>'))
    draw_card(tmp_path, "One and two")
    card = imread(io.BytesIO((tmp_path / CARD).read_bytes()))[..., :3]
    assert card.shape == (HIGH, WIDE, 3)
    red = np.all(card == (1, 0, 0), axis=-1)
    assert red[:, WIDE // 2 :].mean() > 0.8 and not red[:, : WIDE // 3].any()
    assert (card[:, : WIDE // 3] < 0.5).any(), "the title"


def test_icons_of_the_pages_stay_in_style_and_font(tmp_path):
    for part in ("styles/pydata-sphinx-theme.css", "vendor/fontawesome/webfonts"):
        (tmp_path / "_static" / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (THEME / part).is_dir() else shutil.copy
        copy(THEME / part, tmp_path / "_static" / part)
    page = make_page('<i class="fa-solid fa-rocket"></i><i class="fab fa-github"></i>')
    keep_icons({page.name: page}, tmp_path)
    css = (tmp_path / "_static/styles/pydata-sphinx-theme.css").read_text()
    assert ".fa-rocket:before" in css and ".fa-anchor:before" not in css and "woff2" not in css
    fonts = {path.stem: path for path in (tmp_path / "_static/vendor/fontawesome/webfonts").iterdir()}
    solid = TTFont(fonts["fa-solid-900"]).getBestCmap()
    assert 0xF135 in solid and 0xF13D not in solid
    assert 0xF09B in TTFont(fonts["fa-brands-400"]).getBestCmap()
    assert all(path.suffix == ".ttf" and path.stat().st_size < 20_000 for path in fonts.values())
