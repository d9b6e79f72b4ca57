"""Renders the book to _build/html, in the edition asked for.

The published edition is what is committed; another edition is the same tree with the notebooks of its profile laid over
it. Both are built from a staged copy with the layout of the repository, so that a page has the same path in the book,
in the repository and behind its Colab button. The prose is that of today's templates: new words need no new execution.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import nbformat
import typer
import yaml
from browser_engine import build_in
from pages import finish
from pages.scripts import OutsideError
from prose import for_the_book
from sphinx_external_toc.parsing import parse_toc_yaml
from state import show_state

DEMO_NOTICE = (
    "Demo edition: the chapters were executed on small tasks that the project generates itself. "
    "They show that everything runs; they measure nothing about the papers."
)
Edition = Literal["demo", "paper", "published"]
EXECUTE = {
    "demo": "make book",
    "paper": "snakemake --config profile=paper",
    "published": "snakemake --config profile=mini",
}


class StagingError(RuntimeError):
    """A page of the table of contents that is not there."""


def stage(root: Path, edition: Edition) -> Path:
    """Copies what the book is built from to `_build/source`.

    Args:
        root: the repository.
        edition: `published` takes `book/executed` as it is; another lays `_build/executed/<edition>` over it.

    Returns:
        The staged folder.

    Raises:
        StagingError: if `_toc.yml` names a page that does not exist in this edition.
    """
    source = root / "_build" / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book")
    shutil.copytree(root / "xtcq", source / "xtcq", ignore=shutil.ignore_patterns("__pycache__"))  # literalinclude
    shutil.copy2(root / "_toc.yml", source)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    if edition == "demo":
        config.setdefault("html", {})["announcement"] = DEMO_NOTICE
    for page in (root / "_build" / "executed" / edition).glob("*.ipynb"):
        (source / "book" / "executed").mkdir(exist_ok=True)
        shutil.copy2(page, source / "book" / "executed")
    for page in (source / "book" / "executed").glob("*.ipynb"):
        notebook = nbformat.read(page, as_version=4)
        if (template := root / "notebooks" / page.name).exists():
            renew_prose(notebook, nbformat.read(template, as_version=4))
            show_state(notebook, template, root)
        for_the_book(notebook, config.get("repository", {}).get("url", ""))
        nbformat.write(notebook, page)
    (source / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    missing = [page for page in parse_toc_yaml(source / "_toc.yml") if not list(source.glob(f"{page}.*"))]
    if missing:
        raise StagingError("\n".join(_missing(page, root, edition) for page in missing))
    return source


def renew_prose(page: nbformat.NotebookNode, template: nbformat.NotebookNode) -> None:
    """Gives a page all cells of its template but those of code; one with other code than its template stays as it is.

    Args:
        page: the executed notebook, whose code and outputs stay.
        template: the clean one.
    """
    code = [cell for cell in page.cells if cell.cell_type == "code"]
    own = [cell.source for cell in code if not _injected(cell)]
    if own != [cell.source for cell in template.cells if cell.cell_type == "code"]:
        return
    page.cells = []
    for cell in template.cells:
        page.cells.append(code.pop(0) if cell.cell_type == "code" else cell)
        # The cell that papermill put in follows the one with the parameters.
        if cell.cell_type == "code" and code and _injected(code[0]):
            page.cells.append(code.pop(0))


def _injected(cell: nbformat.NotebookNode) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", ())


def _missing(page: str, root: Path, edition: str) -> str:
    template = f"notebooks/{Path(page).name}.ipynb"
    if (root / template).exists():
        return (
            f"_toc.yml names {page}, which was not executed for the {edition} edition: "
            f"{template} is its template, run `{EXECUTE[edition]}`"
        )
    return f"_toc.yml names {page}, and neither {page}.md nor {template} exists: write it or take it out of _toc.yml"


def build(root: Path, source: Path) -> Path:
    """Builds the staged book with every warning an error, and puts it in `_build/html` if there was none.

    Returns:
        The page to open.

    Raises:
        subprocess.CalledProcessError: if the build warned or failed; `_build/html` is then left as it was.
    """
    scratch, html = root / "_build" / "book", root / "_build" / "html"
    shutil.rmtree(scratch, ignore_errors=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["-W", "--keep-going", "-n"]
    subprocess.run([jupyter_book, "build", source, "--path-output", scratch, *strict], check=True)
    finish(scratch / "_build" / "html")
    # Tables and figures link to the Records behind them.
    shutil.copytree(root / "book" / "records", scratch / "_build" / "html" / "book" / "records")
    shutil.rmtree(html, ignore_errors=True)
    (scratch / "_build" / "html").rename(html)
    return html / "index.html"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(edition: Annotated[Edition, typer.Option(help="which executed notebooks")]) -> None:
    """Render the book to _build/html."""
    root = Path(__file__).resolve().parents[1]
    try:
        source = stage(root, edition)
        build_in(source, cache=root / "_build")
        page = build(root, source)
    except (StagingError, OutsideError) as error:
        raise SystemExit(f"error: {error}") from None
    except subprocess.CalledProcessError:
        raise SystemExit("error: the book was not built without warnings; they stand above") from None
    print(f"The {edition} edition is {page}")


if __name__ == "__main__":
    app()
