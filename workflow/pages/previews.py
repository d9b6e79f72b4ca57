"""What stands behind a link, shown before it is followed."""

import json
from textwrap import shorten

from bs4 import Tag

from pages.head import first_paragraph
from pages.page import Page, text_of

LENGTH = 320


def preview(pages: dict[str, Page]) -> None:
    """Puts into every page, as JSON, a title and the first words of what its links within the book lead to.

    In the page itself, since a page that was opened as a file may fetch nothing.

    Args:
        pages: all pages, by their names.
    """
    known: dict[tuple[str, str], tuple[str, str] | None] = {}
    for page in pages.values():
        if page.article is None:
            continue
        shown = {}
        for link in page.article.select("a[href]"):
            goal = page.resolve(link["href"])
            if goal is None or goal[0] not in pages or {"headerlink", "sd-stretched-link"} & set(link.get("class", ())):
                continue
            if goal not in known:
                known[goal] = _words(pages[goal[0]], goal[1])
            if known[goal] and goal != (page.name, ""):
                shown[link["href"]] = known[goal]
                link.attrs.pop("title", None)
        if shown:
            data = page.soup.new_tag("script", attrs={"type": "application/json", "id": "previews"})
            data.string = json.dumps(shown, ensure_ascii=False).replace("</", "<\\/")
            page.soup.body.append(data)


def _words(page: Page, fragment: str) -> tuple[str, str] | None:
    """Returns the title and the first words of a page or a part of it; None if there is nothing to show."""
    part = page.soup.find(id=fragment) if fragment else page.article
    if part is None:
        return None
    if "citation" in part.get("class", ()):
        return "", text_of(part.find("p"))
    if part.name == "dt":
        meaning = part.find_next_sibling("dd")
        return text_of(part), shorten(text_of(meaning), LENGTH, placeholder="…") if meaning else ""
    if part.name == "span" and not part.get_text(strip=True):  # a label that stands before its section
        part = part.find_parent("section")
    if not isinstance(part, Tag) or part.name not in ("section", "article"):
        return None
    heading = part.find(["h1", "h2", "h3", "h4"])
    opening = shorten(first_paragraph(part), LENGTH, placeholder="…")
    return (text_of(heading) if heading else page.title, opening) if opening else None
