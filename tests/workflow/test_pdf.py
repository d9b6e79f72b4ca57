from bs4 import BeautifulSoup
from pdf import one_page

PAGE = """<!DOCTYPE html><html><head><link rel="stylesheet" href="{up}_static/page.css">{math}</head><body>
<nav class="bd-links"><a href="{first}">1</a><a href="{second}">2</a></nav><main id="main-content">
<article class="bd-article"><section id="part"><h1>{title}<a class="headerlink" href="#part">#</a></h1>{body}</section>
</article></main></body></html>"""
MATH = '<script>window.MathJax = {}</script><script defer src="../../_static/mathjax/tex-chtml.js"></script>'


def test_addresses_hold_in_the_whole_book(tmp_path):
    (tmp_path / "book/executed").mkdir(parents=True)
    body = '<a href="executed/two.html#part">to a part</a><a href="#part">here</a><a href="../data.csv">data</a>'
    (tmp_path / "book/index.html").write_text(
        PAGE.format(up="../", math="", first="#", second="executed/two.html", title="First", body=body)
    )
    body = '<img src="../../_images/a.svg"><table id="T_1"></table><script>app()</script>'
    body += '<details class="hide"></details><details class="sd-dropdown"></details><details></details>'
    (tmp_path / "book/executed/two.html").write_text(
        PAGE.format(up="../../", math=MATH, first="../index.html", second="#", title="Second", body=body)
    )
    book = BeautifulSoup(one_page(tmp_path), "html.parser")
    articles = book.select("article")
    assert [article.h1.contents[0] for article in articles] == ["First", "Second"]
    assert len({part["id"] for part in book.select("[id]")}) == len(book.select("[id]"))
    for link in book.select("a[href^='#']"):
        assert book.find(id=link["href"][1:]) is not None
    assert articles[0].find("a", string="to a part")["href"] == f"#{articles[1].section['id']}"
    assert articles[0].find("a", string="data")["href"] == "data.csv"
    assert articles[1].img["src"] == "_images/a.svg" and articles[1].table["id"] == "T_1"
    assert [link["href"] for link in book.select("link")] == ["_static/page.css"]
    assert book.select("script")[-1]["src"] == "_static/mathjax/tex-chtml.js" and not articles[1].script
    assert ["open" in part.attrs for part in book.select("details")] == [False, True, False]
