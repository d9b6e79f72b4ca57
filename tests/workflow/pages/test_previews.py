import json

from pages.head import describe
from pages.page import text_of
from pages.previews import preview

OTHER = """<section id="other"><h1>Other<a class="headerlink" href="#other">#</a></h1>
<p>Short.</p><p>A formula such as <span class="math">\\(x\\)</span> cannot be shown in a small window.</p>
<p>This is the first paragraph that says what the page is about.</p>
<section id="part"><h2>Part</h2><p>What the part says, in a sentence that is long enough.</p></section>
<dl><dt id="term-width">width</dt><dd><p>Bits of a number.</p></dd></dl>
<div class="citation" id="id2"><span class="label">[2]</span><p>Ann Author. A title. 2022.</p></div></section>"""


def shown(pages):
    preview(pages)
    data = pages["book/one.html"].soup.select_one("#previews")
    return json.loads(data.string) if data else {}


def pages(make_page, body):
    return {page.name: page for page in (make_page(body), make_page(OTHER, name="book/executed/other.html"))}


def test_links_to_pages_sections_terms_and_references(make_page):
    hrefs = [f"executed/other.html{fragment}" for fragment in ("", "#part", "#term-width", "#id2")]
    said = shown(pages(make_page, "".join(f'<a href="{href}" title="old">x</a>' for href in hrefs)))
    assert said == {
        hrefs[0]: ["Other", "This is the first paragraph that says what the page is about."],
        hrefs[1]: ["Part", "What the part says, in a sentence that is long enough."],
        hrefs[2]: ["width", "Bits of a number."],
        hrefs[3]: ["", "Ann Author. A title. 2022."],
    }


def test_nothing_is_shown_for_what_leads_elsewhere_or_nowhere(make_page):
    assert not shown(
        pages(make_page, '<a href="https://example.org/x">x</a><a href="gone.html">x</a><a href="#no">x</a>')
    )


def test_a_description_is_the_opening_cut_after_a_word(make_page):
    page = make_page(f"<h1>One</h1><p>{'word ' * 100}</p>")
    describe(page)
    said = page.soup.select_one("meta[name=description]")["content"]
    assert said.endswith("word…") and len(said) <= 200
    assert page.soup.title.string == "One — Book"


def test_text_of_a_cell_keeps_words_apart_and_leaves_comments_out(make_page):
    page = make_page("<p>one<br>two <!-- no --><b>thr</b>ee</p>")
    assert text_of(page.article) == "one two three"
