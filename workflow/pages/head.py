"""What a page says of itself where somebody shares it or finds it."""

from pages.page import Page, text_of

CARD = "_static/card.png"
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
        said["og:description"] = said["description"] = shorten(opening, LENGTH)
    if canonical := page.soup.select_one("link[rel=canonical]"):
        base = canonical["href"].removesuffix(page.name)
        said |= {"og:url": canonical["href"], "og:image": base + CARD, "og:image:alt": book}
        said["twitter:card"] = "summary_large_image"
    for key, value in said.items():
        attribute = "property" if key.startswith("og:") else "name"
        head.append(page.soup.new_tag("meta", attrs={attribute: key, "content": value}))


def first_paragraph(part: object, shortest: int = 40) -> str:
    """Returns the first paragraph of a part of a page, as text: one without formulas, which would not look like any."""
    for paragraph in part.select("p") if part else ():
        said = text_of(paragraph)
        if (
            len(said) >= shortest
            and not paragraph.select_one(".math")
            and not paragraph.find_parent(["table", "details"])
        ):
            return said
    return ""


def shorten(text: str, length: int) -> str:
    """Returns the text, cut after a word if it is longer."""
    if len(text) <= length:
        return text
    return text[: length - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
