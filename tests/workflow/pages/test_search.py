import json

from pages.search import write_search

BODY = """<section id="one"><h1>One<a class="headerlink" href="#one">#</a></h1>
<p><a class="badge-link" href="x">Open in Colab</a></p><p>Weights of 1-1-8.</p>
<section id="two"><h2>Two</h2><div><pre>QuantLinear(8)</pre><p>Prose.</p></div>
<div><table><tr><td>84.0</td><td>83.4</td></tr></table></div></section></section>"""
FORM = '<div class="bd-search-container"><form action="#"></form><div id="search-results"></div></div>'


def test_every_section_has_its_own_text_without_buttons(make_page, tmp_path):
    (tmp_path / "_static").mkdir()
    pages = {page.name: page for page in (make_page(BODY), make_page(FORM, name="search.html"))}
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
