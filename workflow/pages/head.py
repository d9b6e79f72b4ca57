"""What a page says of itself where somebody shares it or finds it."""

import re
from html import escape
from pathlib import Path
from textwrap import shorten, wrap

import vl_convert
from bs4 import Tag

from pages.page import Page, text_of

CARD, PICTURE = "_static/card.png", "_static/lead/light.svg"
WIDE, HIGH = 1200, 630
# In letters; longer descriptions are cut by who shows them.
LENGTH = 200


def describe(page: Page) -> None:
    """Puts a title, a description and the tags of Open Graph into a page's head."""
    head, title = page.soup.head, page.soup.title
    book = title.get_text(strip=True).rsplit(" — ", 1)[-1]
    if page.title:
        title.string = book if page.title == book else f"{page.title} — {book}"
    said = {"og:type": "article", "og:site_name": book, "og:title": page.title or title.get_text(strip=True)}
    if opening := first_paragraph(page.article):
        said["og:description"] = said["description"] = shorten(opening, LENGTH, placeholder="…")
    if canonical := page.soup.select_one("link[rel=canonical]"):
        base = canonical["href"].removesuffix(page.name)
        said |= {"og:url": canonical["href"], "og:image": base + CARD, "og:image:alt": book}
        said["twitter:card"] = "summary_large_image"
    for key, value in said.items():
        attribute = "property" if key.startswith("og:") else "name"
        head.append(page.soup.new_tag("meta", attrs={attribute: key, "content": value}))


def draw_card(html: Path, title: str) -> None:
    """Draws the picture of a shared link: the book's title beside its first figure, as that stands on the page.

    Args:
        html: the folder of the book.
        title: the book's.
    """
    picture = (html / PICTURE).read_text(encoding="utf-8")
    picture = picture.replace("<svg ", f'<svg x="{WIDE - HIGH - 30}" y="15" ', 1)
    picture = re.sub(r' width="\d+" height="\d+"', f' width="{HIGH}" height="{HIGH - 30}"', picture, count=1)
    lines = "".join(f'<tspan x="50" dy="72">{escape(line)}</tspan>' for line in wrap(title, 14))
    head = f'<text y="170" font-family="sans-serif" font-size="58" font-weight="700" fill="#1f2328">{lines}</text>'
    card = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">'
        f'<rect width="100%" height="100%" fill="white"/>{head}{picture}</svg>'
    )
    (html / CARD).write_bytes(vl_convert.svg_to_png(card, scale=1))


def first_paragraph(part: Tag | None) -> str:
    """Returns the first paragraph of 40 letters or more, as text: one without formulas, which are none as text."""
    for paragraph in part.select("p") if part else ():
        said = text_of(paragraph)
        apart = paragraph.select_one(".math") or paragraph.find_parent(["table", "details"])
        if len(said) >= 40 and not apart:
            return said
    return ""
