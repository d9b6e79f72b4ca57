"""Prints the rendered book to one PDF, with a headless Chromium: chapters in order, links between them, an outline.

    python workflow/pdf.py            from _build/html to _build/book.pdf

Code that is folded in the pages is left out, and an interactive figure is its still picture.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from bs4 import BeautifulSoup, Tag
from pages.page import Page

FOOTER = """<div style="width: 100%; font-size: 8px; text-align: center">
<span class="pageNumber"></span></div>"""
STYLE = """@page { size: A4; margin: 18mm 16mm 20mm; }
html { font-size: 11px; background: #fff; }
article.bd-article { break-before: page; padding: 0; }
#chapters ul { padding: 0; list-style: none; }
.headerlink, .copybtn { display: none !important; }
img, svg { max-width: 100% !important; height: auto; }"""


def one_page(html: Path) -> str:
    """Returns all chapters of the rendered book as one page of its folder.

    Args:
        html: the folder. Addresses in the page are relative to it.
    """
    first = Page.read(html / "book" / "index.html", html)
    links = [first.resolve(link["href"]) for link in first.soup.select("nav.bd-links a[href]")]
    order = dict.fromkeys([first.name, *(goal[0] for goal in links if goal is not None)])
    pages = {name: Page.read(html / name, html) for name in order}
    book = BeautifulSoup(
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8"></head>'
        '<body><main class="bd-content"><nav id="chapters"><h1></h1><ul></ul></nav></main></body></html>',
        "html.parser",
    )
    book.head.append(book.new_tag("title"))
    book.head.title.string = book.main.h1.string = first.title
    for part in first.soup.select("link[rel=stylesheet]"):
        book.head.append(part)
        part["href"] = _from_top(first, part["href"])
    for page in pages.values():
        for script in page.soup.select("script"):
            if "mathjax" in script.get("src", "").lower() or "window.MathJax" in (script.string or ""):
                if "src" in script.attrs:
                    script["src"] = _from_top(page, script["src"])
                if str(script) not in {str(known) for known in book.head.select("script")}:
                    book.head.append(script.extract())
    style = book.new_tag("style")
    style.string = STYLE
    book.head.append(style)
    for page in pages.values():
        book.main.append(_chapter(page, pages))
        entry = BeautifulSoup(f'<li><a href="#{_anchor(page.name)}"></a></li>', "html.parser")
        entry.a.string = page.title
        book.select_one("#chapters ul").append(entry)
    return str(book)


def _chapter(page: Page, pages: dict[str, Page]) -> Tag:
    """Returns the article of a page with addresses that hold in the whole book."""
    article = page.article
    for part in article.select("script, noscript, .prev-next-area, form, button"):
        part.decompose()
    for part in article.find_all(True):
        # What a pandas Styler names is unique already, and its style sheet goes by the name.
        if (own := part.get("id")) and not own.startswith("T_"):
            part["id"] = _anchor(page.name, own)
        if "src" in part.attrs:
            part["src"] = _from_top(page, part["src"])
        # Solutions are opened; folded code, and lists without a class, are not.
        if part.name == "details" and "hide" not in part.get("class", ["hide"]):
            part["open"] = ""
        if part.name == "a" and (goal := page.resolve(part.get("href", ""))):
            part["href"] = f"#{_anchor(*goal)}" if goal[0] in pages else _from_top(page, part["href"])
    article["id"] = _anchor(page.name)
    return article.extract()


def _anchor(name: str, fragment: str = "") -> str:
    return "--".join(filter(None, (re.sub(r"\W+", "-", name.removesuffix(".html")), fragment)))


def _from_top(page: Page, address: str) -> str:
    goal = page.resolve(address)
    return address if goal is None or not goal[0] else goal[0]


def main(
    html: Annotated[Path, typer.Option(help="the rendered book")] = Path("_build/html"),
    pdf: Annotated[Path, typer.Option(help="the file to write")] = Path("_build/book.pdf"),
) -> None:
    """Print the rendered book to one PDF."""
    if not (html / "book" / "index.html").is_file():
        raise SystemExit(f"error: there is no rendered book in {html}: run `make html` first")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit("error: playwright is not installed: pip install 'xtcq[dev]'") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("error: no Chromium is installed: apt-get install chromium")
    whole = html.resolve() / "print.html"
    whole.write_text(one_page(html.resolve()), encoding="utf-8")
    try:
        with sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.goto(whole.as_uri())
            page.evaluate("() => window.MathJax?.startup?.promise")
            page.pdf(
                path=pdf,
                prefer_css_page_size=True,
                outline=True,
                tagged=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
            )
            browser.close()
    finally:
        whole.unlink()
    print(f"{pdf}: {pdf.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
