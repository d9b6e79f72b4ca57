import pytest
from bs4 import BeautifulSoup
from pages.page import Page

FRAME = """<!DOCTYPE html><html lang="en"><head><title>{title} — Book</title>{head}</head>
<body><main id="main-content"><article class="bd-article">{body}</article></main></body></html>"""


@pytest.fixture
def make_page():
    """A page as the theme writes one, with what stands in its article and its head."""

    def make(body, name="book/one.html", title="One", head=""):
        return Page(name, BeautifulSoup(FRAME.format(title=title, head=head, body=body), "html.parser"))

    return make
