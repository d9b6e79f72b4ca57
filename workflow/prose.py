"""Takes over new prose of a notebook into its executed page, whose code and outputs stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import nbformat
import typer

from xtcq.files import whole_file


def take_over(template: Path, page: Path) -> bool:
    """Gives a page all cells of its template but those of code, which it must have already.

    Args:
        template: the clean notebook.
        page: the executed notebook, replaced by rename.

    Returns:
        Whether anything was different.

    Raises:
        ValueError: if the two differ in more than prose, so that the page has to be executed again.
    """
    notebook = nbformat.read(page, as_version=4)
    clean = nbformat.read(template, as_version=4).cells
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    own = [cell for cell in code if not _injected(cell)]
    if [cell.source for cell in own] != [cell.source for cell in clean if cell.cell_type == "code"]:
        raise ValueError(f"{page} and {template} differ in more than prose: execute the notebook again")
    cells = []
    for cell in clean:
        cells.append(code.pop(0) if cell.cell_type == "code" else cell)
        # The cell that papermill put in follows the one with the parameters.
        if cell.cell_type == "code" and code and _injected(code[0]):
            cells.append(code.pop(0))
    changed = [cell.source for cell in cells] != [cell.source for cell in notebook.cells]
    if changed:
        notebook.cells = cells
        with whole_file(page) as temporary:
            nbformat.write(notebook, temporary)
    return changed


def _injected(cell: nbformat.NotebookNode) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", ())


def main(
    names: Annotated[list[str] | None, typer.Argument(help="chapters, such as kd-stages; all if none is named")] = None,
) -> None:
    """Take over the prose of notebooks/ into the published pages of book/executed."""
    folder = Path("book/executed")
    for page in [folder / f"{name}.ipynb" for name in names] if names else sorted(folder.glob("*.ipynb")):
        try:
            if take_over(Path("notebooks") / page.name, page):
                typer.echo(f"{page}: new prose")
        except (ValueError, OSError) as error:
            raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    typer.run(main)
