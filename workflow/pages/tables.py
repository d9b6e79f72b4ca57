"""Tables that are wider than a phone or longer than a screen."""

import re

from bs4 import Tag

from pages.page import Page, text_of

# Two words: such cells are read and not compared by their digits.
WORDS = re.compile(r"[^\W\d]{2,}\W+[^\W\d]{2,}")
# A column with a longer cell needs room for more than a word a line.
LONGER_THAN_A_LINE = 45
# A table whose rows mostly have a longer cell is read as one card a row on a phone.
LONGEST_CELL = 75
# What the first column says in so few letters stays on one line there, and is not broken at a hyphen.
SHORT_LABEL = 16


def label_tables(page: Page) -> None:
    """Gives every table of a page what `page.css` and `page.js` need to make it scroll, fold, or become cards.

    Each stands in a `div.table-scroll` of its own, under a header without a row that could do without; cells of the
    first column are marked, since a row whose first cell spans several has none, and so are columns of words; cells
    carry the name of their column; empty cells are no headers.
    """
    for table in page.soup.select("article table"):
        _join_header(table)
        for empty in [cell for cell in table.find_all("th") if not text_of(cell) and not cell.find("img")]:
            empty.name = "td"
            empty.attrs.pop("scope", None)
        grid = _grid(table)
        scroll = page.soup.new_tag("div", attrs={"class": "table-scroll", "role": "group", "aria-label": _label(table)})
        parent = table.parent
        if "pst-scrollable-table-container" in parent.get("class", ()):
            parent.unwrap()
        table.wrap(scroll)
        del table["border"]
        head, body = _rows(table, "thead"), _rows(table, "tbody")
        for cell in {id(cell): cell for row in grid for cell in row[:1]}.values():
            short = ["short"] * (len(text_of(cell)) <= SHORT_LABEL)
            cell["class"] = [*cell.get("class", ()), "first-column", *short]
        for cell in [cell for row in head for cell in row.find_all("th")]:
            cell["scope"] = "colgroup" if int(cell.get("colspan", 1)) > 1 else "col"
        for column in zip(*grid, strict=False):
            said = [text_of(cell, ("details",)) for cell in column[len(head) :]]
            if sum(bool(WORDS.search(text)) for text in said) * 2 > len(said):
                long = ["long"] * (max(map(len, said)) > LONGER_THAN_A_LINE)
                for cell in {id(cell): cell for cell in column if int(cell.get("colspan", 1)) == 1}.values():
                    cell["class"] = [*cell.get("class", ()), "words", *long]
        names = _column_names(grid[: len(head)])
        for row, cells in zip(body, grid[len(head) :], strict=True):
            for column, cell in enumerate(cells):
                if cell.parent is row and "data-label" not in cell.attrs:
                    cell["data-label"] = names[column] if column < len(names) else ""
                    if cell.name == "th":
                        cell["scope"] = "rowgroup" if int(cell.get("rowspan", 1)) > 1 else "row"
        # A details is opened when it is wanted, and what it hides makes no cell long.
        lengths = [max(len(text_of(cell, ("details",))) for cell in row.find_all(["td", "th"])) for row in body]
        if sum(length > LONGEST_CELL for length in lengths) * 2 > len(body):
            scroll["class"] = [*scroll["class"], "as-cards"]


def _join_header(table: Tag) -> None:
    """Writes the names of an index, which pandas puts below the header, into the empty cells of the row above them."""
    head = _rows(table, "thead")
    if len(head) < 2:
        return
    upper, lower = _grid(table)[len(head) - 2 : len(head)]
    if len(upper) != len(lower) or any(text_of(above) and text_of(below) for above, below in zip(upper, lower)):
        return
    named = [(above, below) for above, below in zip(upper, lower) if text_of(below)]
    if any(int(cell.get("colspan", 1)) + int(cell.get("rowspan", 1)) > 2 for pair in named for cell in pair):
        return
    for above, below in named:
        above.replace_with(below)
    head[-1].decompose()


def _rows(table: Tag, part: str) -> list[Tag]:
    return [row for group in table.find_all(part, recursive=False) for row in group.find_all("tr", recursive=False)]


def _grid(table: Tag) -> list[list[Tag]]:
    """Returns the cell at every place of a table, where a cell that spans several stands in all of them."""
    rows = _rows(table, "thead") + _rows(table, "tbody")
    places: dict[tuple[int, int], Tag] = {}
    for i, row in enumerate(rows):
        column = 0
        for cell in row.find_all(["td", "th"], recursive=False):
            while (i, column) in places:
                column += 1
            for down in range(int(cell.get("rowspan", 1))):
                for right in range(int(cell.get("colspan", 1))):
                    places[i + down, column + right] = cell
    widths = [max((column for row, column in places if row == i), default=-1) + 1 for i in range(len(rows))]
    return [[places[i, column] for column in range(width)] for i, width in enumerate(widths)]


def _column_names(head: list[list[Tag]]) -> list[str]:
    """Returns the name of every column: what the rows of the header say of it, from top to bottom."""
    width = max(map(len, head), default=0)
    said = [[text_of(row[column]) for row in head if column < len(row)] for column in range(width)]
    return [", ".join(dict.fromkeys(filter(None, names))) for names in said]


def _label(table: Tag) -> str:
    caption = table.find("caption")
    if caption and text_of(caption):
        return f"Table: {text_of(caption)[:120]}"
    heading = table.find_previous(["h1", "h2", "h3", "h4"])
    return f"Table in “{text_of(heading)}”" if heading else "Table"
