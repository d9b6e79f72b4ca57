"""The state of an executed page, in one line under its title: what was run, and whether the code changed since."""

import html
from pathlib import Path
from typing import Any

import nbformat
from dependencies import digest

# Classes of `figures.css`.
GOOD, NOTE = "good", "note"


def show_state(notebook: nbformat.NotebookNode, template: Path, root: Path) -> None:
    """Writes the line into a page, after its title; the arguments are those of `state`."""
    first = next((cell for cell in notebook.cells if cell.cell_type == "markdown"), None)
    if first is None or not first.source.startswith("# "):
        return
    badges = "".join(
        f'<span class="{kind}">{html.escape(said)}</span>' for kind, said in state(notebook, template, root)
    )
    title, _, rest = first.source.partition("\n")
    first.source = f'{title}\n\n<p class="page-state">{badges}</p>\n{rest}'


def state(notebook: nbformat.NotebookNode, template: Path, root: Path) -> list[tuple[str, str]]:
    """What is to be said of a page, each with its kind.

    Args:
        notebook: the executed one.
        template: the clean one.
        root: the repository, whose Records may be newer than the page.
    """
    said = []
    if found := _of_grid(notebook):
        missing = [name for name in found["missing"] if not (root / "book" / "records" / f"{name}.json").exists()]
        arrived = len(found["missing"]) - len(missing)
        if found["cells"] and not found["missing"]:
            said.append((GOOD, f"complete: {_runs(found['cells'])}"))
        if missing:
            said.append((NOTE, f"{_runs(len(missing))} missing"))
        if arrived:
            said.append((NOTE, f"{_runs(arrived)} finished since"))
    if made_by := notebook.metadata.get("xtcq", {}).get("code"):
        same = made_by == digest(template, root)
        said.append((GOOD, "code unchanged since this run") if same else (NOTE, "code changed since this run"))
    else:
        said.append((NOTE, "code may have changed since this run"))
    return said


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _of_grid(notebook: nbformat.NotebookNode) -> dict[str, Any] | None:
    """What ``xtcq_book.findings.missing`` said of the page's grid when it was executed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if found := output.get("metadata", {}).get("text/markdown", {}).get("xtcq"):
                return found
    return None
