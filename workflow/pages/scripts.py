"""What a page loads: nothing from elsewhere, and nothing that it does not use."""

import re

from bs4 import Tag

from pages.page import Page

# Font Awesome draws its icons from a script of 1.5 MB; the theme has them as a font too, which its CSS asks for.
# Thebe runs code in a kernel that this book has not; its script is put in twice, which is an error in the browser.
# Sphinx's search is replaced, see search.py, and its index was loaded with every page.
UNUSED = re.compile(r"fontawesome\.js|thebe|THEBE|searchindex\.js|searchtools\.js|language_data\.js")


class OutsideError(RuntimeError):
    """A page that would load something from elsewhere."""


def lighten(page: Page) -> None:
    """Takes out scripts that are not used or stand twice, and what would be fetched from elsewhere.

    Raises:
        OutsideError: if the page loads an image, script, style or frame from elsewhere and it is no badge.
    """
    seen = set()
    for tag in page.soup.select("script, link, meta[name=viewport]"):
        source = str(tag.get("src") or tag.get("href") or tag.string or "")
        key = (tag.name, source or tag.get("name"))
        if UNUSED.search(source) or key in seen:
            tag.decompose()
        elif tag.name != "link" or "preload" not in tag.get("rel", ()):
            seen.add(key)
    for image in page.soup.select("a > img[src^=http]"):
        badge = image.parent
        badge["class"] = [*badge.get("class", ()), "badge-link"]
        image.replace_with(image.get("alt") or "Open")
    for placeholder in page.soup.select("#ethical-ad-placement"):
        placeholder.decompose()
    outside = [source for tag in page.soup.find_all(True) if (source := _loaded(tag)) and _is_outside(source)]
    if outside:
        raise OutsideError(f"{page.name} would load {', '.join(outside)}: put a copy below book/_static")


def _loaded(tag: Tag) -> str | None:
    if tag.name == "link" and not {"stylesheet", "icon", "preload"} & set(tag.get("rel", ())):
        return None
    return tag.get("href") if tag.name == "link" else tag.get("src")


def _is_outside(source: str) -> bool:
    return bool(re.match(r"(https?:)?//", source))
