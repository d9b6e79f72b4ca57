"""Gates: what must hold before the book is published."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xtcq.study import notebook_grid
from xtcq.study.records import load_record
from xtcq_book import readme, story
from xtcq_book.lead import FOLDER, files, students
from xtcq_book.provenance import CLASS

# A table or a picture, and a link to a Record, in the HTML of an output.
_DRAWN = re.compile(r"<table\b|<svg\b")
_RECORD = re.compile(r'href="\.\./records/([^"]+)"')

# The project on GitHub, in an address of its own or behind Colab's: owner/name.
_ADDRESS = re.compile(r"github(?:\.com)?/([\w-]+/xtcq)\b")


def check_book(root: Path) -> list[str]:
    """Hold the published edition against its templates and Records.

    What rendering warns of, such as a glue key that no page has, and what the tests say of the published tables and the
    ledger of claims is not asked again.

    Returns:
        Everything that a reader would stumble over, with its file and what to do, a line each.
    """
    problems = [problem for page in sorted(root.glob("book/executed/*.ipynb")) for problem in _notebook(root, page)]
    for template in sorted(root.glob("notebooks/*.ipynb")):
        lacking = story.problems(template, root / "book" / "executed" / template.name)
        problems += [(f"notebooks/{template.name}", problem) for problem in lacking]
    for path in sorted(root.glob("book/records/*.json")):
        try:
            load_record(path)
        except (ValueError, OSError) as error:
            problems.append((f"book/records/{path.name}", str(error)))
    problems += _address(root)
    if (root / FOLDER).is_dir():
        problems += _lead(root)
    return [f"{file}: {problem.rstrip('.')}." for file, problem in problems]


Problems = Iterator[tuple[str, str]]
"""A file, relative to the checkout, and what is wrong with it."""


def _lead(root: Path) -> Problems:
    read = (root / "README.md").read_text(encoding="utf-8")
    expected = {f"{FOLDER}/{name}": content for name, content in files(students()).items()}
    for name, content in (expected | {"README.md": readme.renewed(read)}).items():
        if not (root / name).exists() or (root / name).read_text(encoding="utf-8") != content:
            yield name, "it does not show today's Records: python -m xtcq_book lead"


def _notebook(root: Path, executed: Path) -> Problems:
    name = str(executed.relative_to(root))
    template = root / "notebooks" / executed.name
    again = f"Execute it again: snakemake --config profile=mini notebook={executed.stem} --forcerun execute"
    if not template.exists():
        yield name, f"its template notebooks/{executed.name} does not exist. Delete the page or restore it"
        return
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if notebook["metadata"].get("papermill", {}).get("exception") or any(
        output["output_type"] == "error" for cell in code for output in cell["outputs"]
    ):
        yield name, f"its execution failed. {again}"
    # Prose may differ: the book is rendered with that of the template.
    own = [cell for cell in code if "injected-parameters" not in cell["metadata"].get("tags", ())]
    clean = json.loads(template.read_text(encoding="utf-8"))["cells"]
    if _sources(own) != _sources(cell for cell in clean if cell["cell_type"] == "code"):
        yield name, f"its code is not that of notebooks/{executed.name}. {again}"
        return
    for said in (*_warnings(code), *_without_source(root, code)):
        yield name, f"{said}. {again}"
    if not any("grid" in cell["metadata"].get("tags", ()) for cell in code):
        return
    parameters: dict[str, Any] = notebook["metadata"].get("papermill", {}).get("parameters", {})
    if not parameters.get("train", True):  # the page itself says which cells of its grid were not run
        return
    for experiment in notebook_grid(template, parameters):
        if not (root / "book" / "records" / f"{experiment.digest}.json").exists():
            yield name, f"the Record {experiment.digest} of «{experiment}» is missing. {again}"


def _address(root: Path) -> Problems:
    """The project's address stands in pyproject.toml; files that cannot read it from there must say the same."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = project["project"]["urls"]["Repository"]
    owner = address.removeprefix("https://github.com/")
    files = [*root.glob("*.md"), *root.glob("*.yml"), *root.glob("*.cff"), *root.glob("notebooks/*.ipynb")]
    files += [*root.glob("book/*.md"), *root.glob(".github/**/*.yml"), *root.glob("workflow/*.py")]
    for path in sorted(files):
        for found in sorted(set(_ADDRESS.findall(path.read_text(encoding="utf-8"))) - {owner}):
            problem = f"it says github.com/{found}, and pyproject.toml says {address}. Write the same in both"
            yield str(path.relative_to(root)), problem


def _warnings(code: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What cells wrote to standard error, which no reader sees where the cell is removed from the page."""
    for cell in code:
        for output in cell["outputs"]:
            said = "".join(output.get("text", "")).splitlines() if output.get("name") == "stderr" else []
            # A bar of progress is none.
            if warning := " ".join(" ".join(line for line in said if "%|" not in line).split()):
                yield f"a cell warned: {warning[:200]}"


def _without_source(root: Path, code: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Tables and figures beyond the method that do not say where they come from, and Records that are not here."""
    records = root / "book" / "records"
    for cell in code:
        for output in cell["outputs"] if "method" not in cell["metadata"].get("tags", ()) else ():
            data = output.get("data", {})
            shown = "".join(data.get("text/html", ""))
            if (_DRAWN.search(shown) or any(kind.startswith("image/") for kind in data)) and CLASS not in shown:
                last = "".join(cell["source"]).strip().rpartition("\n")[2]
                yield f"what «{last}» shows does not say where it comes from: show it with a source"
            for link in sorted(set(_RECORD.findall(shown))):
                if not (records / link).exists():
                    yield f"it links to the Record {link}, which is not in book/records"


def _sources(cells: Iterable[dict[str, Any]]) -> list[str]:
    return ["".join(cell["source"]) for cell in cells]
