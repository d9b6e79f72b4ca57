"""Finishes the rendered pages, in place: nothing is fetched from elsewhere, and a reader finds, reads and shares them.

Jupyter Book writes the pages; what its themes leave out or get wrong is put right here, on the HTML itself, so that it
also holds without JavaScript wherever it can.
"""

from pathlib import Path

from pages.head import describe, draw_card
from pages.icons import keep_icons
from pages.page import Page
from pages.previews import preview
from pages.scripts import lighten
from pages.search import write_search
from pages.tables import label_tables


def finish(html: Path) -> None:
    """Finishes every page of a rendered book.

    Args:
        html: the folder that Jupyter Book wrote.

    Raises:
        OutsideError: if a page would load something that does not lie in the folder.
    """
    read = [Page.read(path, html) for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]
    # Without the theme's frame are the redirection to the first page, and the page for an address that is none.
    pages = {page.name: page for page in read if page.soup.select_one("#main-content")}
    for page in pages.values():
        lighten(page)
        label_tables(page)
        describe(page)
        _name(page)
    # Only now, since a preview and a result of the search are taken from other pages as they will be read.
    preview(pages)
    write_search(pages, html)
    keep_icons(pages, html)
    for page in pages.values():
        page.write(html)
    draw_card(html, pages["book/index.html"].title)
    for unused in (*html.rglob("*.map"), *html.glob("_static/scripts/fontawesome*"), html / "searchindex.js"):
        unused.unlink(missing_ok=True)


def _name(page: Page) -> None:
    """Puts right what the themes say of their own parts to those who hear a page, or move through it with keys."""
    for labelled in page.soup.select("summary[aria-label], button[aria-label]"):
        # What has a text of its own is called by it.
        if labelled.get_text(strip=True):
            del labelled["aria-label"]
    for reference in page.soup.select("[role=doc-biblioentry]"):
        reference["role"] = "listitem"
    for sidebar in page.soup.select("#pst-primary-sidebar"):
        sidebar.attrs |= {"role": "complementary", "aria-label": "Chapters"}
