"""A rendered page as a tree."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag


@dataclass
class Page:
    """A page of the book, to be read and changed.

    Attributes:
        name: its path below the folder of the book, with slashes.
        soup: the whole document.
    """

    name: str
    soup: BeautifulSoup

    @classmethod
    def read(cls, path: Path, html: Path) -> Page:
        """Reads a file of the folder `html`."""
        return cls(path.relative_to(html).as_posix(), BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser"))

    def write(self, html: Path) -> None:
        """Writes the page back to where it was read."""
        (html / self.name).write_text(str(self.soup), encoding="utf-8")

    @property
    def article(self) -> Tag | None:
        """What is read of the page; search and other pages of the theme have none."""
        return self.soup.select_one("article.bd-article")

    @property
    def title(self) -> str:
        """The first heading, as text."""
        heading = self.soup.select_one("article.bd-article h1")
        return text_of(heading) if heading else ""

    def resolve(self, href: str) -> tuple[str, str] | None:
        """Returns the page and the fragment that a link leads to from here; None if it leaves the book."""
        parts = urlsplit(href)
        if parts.scheme or parts.netloc:
            return None
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), unquote(parts.path)))
        return (path if parts.path else self.name), unquote(parts.fragment)


# What stands in a page and is not its text.
APART = {"style", "script", "noscript", "button", "svg"}
CLASSES_APART = {"headerlink", "badge-link", "collapsed", "expanded", "math"}
BLOCKS = {"p", "div", "li", "td", "th", "tr", "dt", "dd", "br", "pre", "h1", "h2", "h3", "h4", "figcaption", "summary"}


def text_of(tag: Tag, without: tuple[str, ...] = ()) -> str:
    """Returns the text of an element in one line, without styles, scripts and buttons.

    Args:
        tag: the element.
        without: names of elements to leave out, too.
    """
    words: list[str] = []

    def walk(node: Tag) -> None:
        for child in node.children:
            if not isinstance(child, Tag):
                if type(child) is NavigableString:  # no comment
                    words.append(child)
            elif child.name == "span" and "math" in child.get("class", ()):
                words.append(child.get_text().strip("\\()"))
            elif (
                child.name not in APART
                and child.name not in without
                and not CLASSES_APART & set(child.get("class", ()))
            ):
                space = " " if child.name in BLOCKS else ""
                words.append(space)
                walk(child)
                words.append(space)

    walk(tag)
    return " ".join("".join(words).split())
