"""The text of the book, as the search reads it.

Sphinx's own search has no snippet where a page was opened as a file, shows buttons instead of sentences where it was
not, and does not find "1-1-8". This one has the text itself; `search.js` looks it up with MiniSearch.
"""

import json
from pathlib import Path

from pages.page import Page, text_of


def write_search(pages: dict[str, Page], html: Path) -> None:
    """Writes `_static/search-text.js` with every section of the book, and has the page of the search load it.

    Args:
        pages: all pages, by their names.
        html: the folder of the book.
    """
    sections = [section for page in pages.values() for section in _sections(page)]
    data = json.dumps(sections, ensure_ascii=False, separators=(",", ":"))
    (html / "_static" / "search-text.js").write_text(f"const SECTIONS = {data};\n", encoding="utf-8")
    soup = pages["search.html"].soup
    soup.select_one(".bd-search-container form")["action"] = "search.html"
    soup.select_one("#search-results")["aria-live"] = "polite"
    for script in ("minisearch/minisearch.js", "search-text.js", "search.js"):
        soup.head.append(soup.new_tag("script", attrs={"src": f"_static/{script}", "defer": ""}))


def _sections(page: Page) -> list[dict[str, str]]:
    """Returns the sections of a page; the text of one ends where the next begins, also one that is inside it."""
    found = []
    for section in page.article.select("section[id]") if page.article else ():
        heading = section.find(["h1", "h2", "h3", "h4", "h5"])
        if heading is None or heading.find_parent("section") is not section:
            continue
        data = [part for part in section.select("pre, table") if part.find_parent("section") is section]
        found.append(
            {
                "page": page.title,
                "heading": text_of(heading),
                "url": page.name + ("" if heading.name == "h1" else f"#{section['id']}"),
                "text": text_of(section, ("section", "pre", "table", heading.name)),
                "data": " ".join(map(text_of, data)),
            }
        )
    return found
