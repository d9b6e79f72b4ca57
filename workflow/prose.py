"""The prose of a template as the book shows it: a template is also read in Jupyter and in Colab, which know no MyST."""

import re

from nbformat import NotebookNode


def for_the_book(notebook: NotebookNode, address: str) -> None:
    """Turn what works everywhere into what the book can do more with, in place.

    Links to pages of the repository become links between pages, the short answer of a chapter and its solutions
    become boxes. Results come first: code that only prepares or draws is folded, and the parameters, which a reader of
    the book cannot change, stand where a row is run again.

    Args:
        notebook: a page of ``book/executed``.
        address: the repository's, as its links have it.
    """
    page = re.compile(rf"\]\({re.escape(address)}/blob/main/(notebooks|book)/([\w-]+)\.(ipynb|md)(#[\w-]+)?\)")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tags = set(cell.metadata.get("tags", ()))
            if "hide-input" in tags and not tags & _SETTING and not cell.outputs:
                cell.metadata.tags = ["remove-cell"]
            elif "grid" in tags:
                cell.metadata.tags = [*(tags - {"hide-input"}), "hide-cell"]
            elif "gather(grid" in cell.source:
                cell.metadata.tags = ["remove-input"]
            elif tags & _SETTING:
                cell.metadata.tags = [*tags, "hide-input"]
            continue
        # The badge is a link around an image, which stays as it is.
        cell.source = page.sub(_between_pages, cell.source)
        cell.source = _DETAILS.sub(_dropdown, cell.source)
        if "in-short" in cell.metadata.get("tags", ()):
            text = re.sub(r"^> ?", "", cell.source, flags=re.MULTILINE).removeprefix("**In short.**").lstrip()
            # A line is a thought, and gets a paragraph.
            text = re.sub(r"\n+", "\n\n", text)
            cell.source = f":::{{admonition}} In short\n:class: tip\n{text}\n:::"
    _parameters_later(notebook.cells)


def _parameters_later(cells: list[NotebookNode]) -> None:
    first = next((i for i, cell in enumerate(cells) if cell.source.startswith("## Parameters")), None)
    if first is None:
        return
    last = max((i for i, cell in enumerate(cells) if _SETTING & set(cell.metadata.get("tags", ()))), default=first)
    moved = cells[first : last + 1]
    del cells[first : last + 1]
    place = next((i for i, cell in enumerate(cells) if re.match(_AGAIN, cell.source)), len(cells))
    cells[place:place] = moved


_SETTING = {"parameters", "injected-parameters", "grid"}
# Where a page says how to run it again.
_AGAIN = "## (Rerun one row|Run them again)"
_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>\n(.*?)\n</details>", re.DOTALL)


def _between_pages(found: re.Match[str]) -> str:
    folder, name, kind, anchor = found.groups()
    return f"]({'' if folder == 'notebooks' else '../'}{name}.{kind}{anchor or ''})"


def _dropdown(found: re.Match[str]) -> str:
    title, text = found.groups()
    return f"::::{{admonition}} {title}\n:class: dropdown\n{text.strip()}\n::::"
