"""Takes over new prose of a notebook into its executed page, whose code and outputs stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import nbformat
import typer


def take_over(template: Path, page: Path) -> bool:
    """Gives a page the markdown cells of its template.

    Args:
        template: the clean notebook.
        page: the executed notebook, replaced by rename.

    Returns:
        Whether anything was different.

    Raises:
        ValueError: if the two differ in more than prose, so that the page has to be executed again.
    """
    notebook = nbformat.read(page, as_version=4)
    cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", ())]
    clean = nbformat.read(template, as_version=4).cells

    def skeleton(of: list[nbformat.NotebookNode]) -> list[str]:
        return [c.source if c.cell_type == "code" else c.cell_type for c in of]

    if skeleton(cells) != skeleton(clean):
        raise ValueError(f"{page} and {template} differ in more than prose: execute the notebook again")
    changed = False
    for cell, source in zip(cells, clean, strict=True):
        changed |= cell.source != source.source
        cell.source = source.source
    if changed:
        complete = page.with_suffix(".tmp")
        nbformat.write(notebook, complete)
        complete.replace(page)
    return changed


def main(
    names: Annotated[list[str] | None, typer.Argument(help="chapters, such as kd-stages; all if none is named")] = None,
) -> None:
    """Take over the prose of notebooks/ into the published pages of book/executed."""
    for page in [Path(f"book/executed/{n}.ipynb") for n in names or ()] or sorted(
        Path("book/executed").glob("*.ipynb")
    ):
        try:
            if take_over(Path("notebooks") / page.name, page):
                typer.echo(f"{page}: new prose")
        except (ValueError, OSError) as error:
            raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    typer.run(main)
