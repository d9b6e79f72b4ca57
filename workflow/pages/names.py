"""Names and roles for those who hear a page, or move through it with keys."""

from pages.page import Page, text_of


def name(page: Page) -> None:
    """Puts right what the themes say of their own parts.

    What has a text of its own is called by it, the references are items of their list, and the sidebar is a part of the
    page that one can jump to.
    """
    for labelled in page.soup.select("summary[aria-label], button[aria-label]"):
        if labelled.get_text(strip=True):
            del labelled["aria-label"]
    for reference in page.soup.select("[role=doc-biblioentry]"):
        reference["role"] = "listitem"
    for empty in page.soup.select("article tbody th"):
        if not text_of(empty):
            empty.name = "td"
            del empty["scope"]
    for sidebar in page.soup.select("#pst-primary-sidebar"):
        sidebar.attrs |= {"role": "complementary", "aria-label": "Chapters"}
