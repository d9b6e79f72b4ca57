import pytest
from pages.scripts import OutsideError, lighten

HEAD = """<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<script>const THEBE_JS_URL = "https://unpkg.com/thebe"</script><script async src="../_static/sphinx-thebe.js"></script>
<script src="../_static/page.js"></script><script src="../_static/page.js"></script>
<link rel="preload" as="script" href="../_static/scripts/bootstrap.js">
<script defer src="../_static/scripts/bootstrap.js"></script><link rel="canonical" href="https://example.org/one.html">"""


def test_what_is_used_is_loaded_once(make_page):
    page = make_page("<p>Text</p>", head=HEAD)
    lighten(page)
    assert [script["src"] for script in page.soup.select("script")] == [
        "../_static/page.js",
        "../_static/scripts/bootstrap.js",
    ]


def test_badge_becomes_text(make_page):
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
def test_what_would_come_from_elsewhere_is_refused(part, make_page):
    with pytest.raises(OutsideError, match=r"book/one.html would load .*book/_static"):
        lighten(make_page(part))
