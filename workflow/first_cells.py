"""Runs what a reader runs first: every code cell of every notebook up to its grid, none of which trains.

With the newest versions that pyproject.toml allows, this says in time what a new release of a library breaks.
"""

import sys
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def first_cells(notebook: Path) -> nbformat.NotebookNode:
    """The notebook cut off after its grid; after its parameters have been read, where it has none."""
    opened = nbformat.read(notebook, as_version=4)
    cells = [cell for cell in opened.cells if cell.cell_type == "code"]
    last = [i for i, cell in enumerate(cells) if "grid" in cell.metadata.get("tags", ())]
    last = last or [i + 1 for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ())]
    opened.cells = cells[: last[0] + 1]
    return opened


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    notebooks: Annotated[list[Path] | None, typer.Argument(help="all of notebooks/ if left out", exists=True)] = None,
) -> None:
    """Run the first cells of notebooks and say which fail."""
    failed = 0
    for path in notebooks or sorted(Path("notebooks").glob("*.ipynb")):
        try:
            NotebookClient(first_cells(path), timeout=600, kernel_name="python3").execute(cwd=str(Path.cwd()))
            print(f"{path}: ok", flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{path}: {error.ename}: {error.evalue}", flush=True)
    if failed:
        sys.exit(f"error: the first cells of {failed} notebooks failed")


if __name__ == "__main__":
    app()
