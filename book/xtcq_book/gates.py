"""Gates: what must hold before the book is published."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xtcq.study import notebook_grid
from xtcq.study.records import OLD_FOLDER, load_record, old_records
from xtcq_book import published, readme, story
from xtcq_book.claims.ledger import load_claims
from xtcq_book.lead import FOLDER, files, students
from xtcq_book.provenance import CLASS

# The role, which stands in a sentence, and the directive, which is a block.
_GLUE = re.compile(
    r"\{glue:[a-z]*\}`(?P<inline_page>[^`:]+)::(?P<inline_key>[^`:]+)(?::[^`]*)?`"
    r"|^```\{glue(?::[a-z]+)?\} (?P<key>\S+)\n:doc: (?P<page>\S+)",
    re.MULTILINE,
)
# A table or a picture, and a link to a Record, in the HTML of an output.
_DRAWN = re.compile(r"<table\b|<svg\b")
_RECORD = re.compile(r'href="\.\./records/([^"]+)"')

# The project on GitHub, in an address of its own or behind Colab's: owner/name.
_ADDRESS = re.compile(r"github(?:\.com)?/([\w-]+/xtcq)\b")


@dataclass(frozen=True)
class Problem:
    """Something that a reader would stumble over.

    Attributes:
        file: where it is, relative to the checkout.
        problem: what is wrong, and what to do.
    """

    file: str
    problem: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.file}: {self.problem.rstrip('.')}."


def check_book(root: Path) -> list[Problem]:
    """Hold the published edition against its templates and Records.

    Returns:
        Every problem found; none means that the book may be published.
    """
    book, records = root / "book", root / "book" / "records"
    problems = [problem for page in sorted(book.glob("executed/*.ipynb")) for problem in _check_notebook(root, page)]
    for template in sorted(root.glob("notebooks/*.ipynb")):
        lacking = story.problems(template, book / "executed" / template.name)
        problems += [Problem(f"notebooks/{template.name}", problem) for problem in lacking]
    readers = [(f"book/records/{path.name}", partial(load_record, path)) for path in sorted(records.glob("*.json"))]
    problems += _unreadable([*readers, (f"book/records/{OLD_FOLDER}", partial(old_records, records))])
    problems += [problem for page in sorted(book.rglob("*.md")) for problem in _check_glue(root, page)]
    problems += _check_address(root)
    if (book / "published").is_dir():
        problems += _check_papers(book / "claims.yaml")
    if (root / FOLDER).is_dir():
        problems += _check_lead(root)
    return problems


def _check_lead(root: Path) -> Iterator[Problem]:
    read = (root / "README.md").read_text(encoding="utf-8")
    expected = {f"{FOLDER}/{name}": content for name, content in files(students()).items()}
    for name, content in (expected | {"README.md": readme.renewed(read)}).items():
        if not (root / name).exists() or (root / name).read_text(encoding="utf-8") != content:
            yield Problem(name, "it does not show today's Records: python -m xtcq_book lead")


def _unreadable(readers: Iterable[tuple[str, Callable[[], object]]]) -> list[Problem]:
    """What cannot be read, with the message of the reader, which names a remedy."""
    problems = []
    for file, read in readers:
        try:
            read()
        except (ValueError, OSError) as error:
            problems.append(Problem(file, str(error)))
    return problems


def _check_papers(ledger: Path) -> list[Problem]:
    """Published tables and the ledger; a malformed table would be reported again by every claim that reads it."""
    readers = {name: partial(published.load, name) for name in (*published.tables(), *published.texts())}
    readers |= {"errata": published.errata, "code-departures": published.departures, "repeats": published.repeats}
    file = f"book/{ledger.name}"
    return (
        _unreadable((f"book/published/{name}.csv", read) for name, read in readers.items())
        or _unreadable([(file, partial(load_claims, ledger))])
        or _unreadable((file, claim.paper_effect) for claim in load_claims(ledger))
    )


def _check_notebook(root: Path, executed: Path) -> Iterator[Problem]:
    name = str(executed.relative_to(root))
    template = root / "notebooks" / executed.name
    again = f"Execute it again: snakemake --config profile=mini notebook={executed.stem} --forcerun execute"
    if not template.exists():
        yield Problem(name, f"its template notebooks/{executed.name} does not exist. Delete the page or restore it")
        return
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if notebook["metadata"].get("papermill", {}).get("exception") or any(
        output["output_type"] == "error" for cell in code for output in cell["outputs"]
    ):
        yield Problem(name, f"its execution failed. {again}")
    # Prose may differ: the book is rendered with that of the template.
    own = [cell for cell in code if "injected-parameters" not in cell["metadata"].get("tags", ())]
    clean = json.loads(template.read_text(encoding="utf-8"))["cells"]
    if _sources(own) != _sources(cell for cell in clean if cell["cell_type"] == "code"):
        yield Problem(name, f"its code is not that of notebooks/{executed.name}. {again}")
        return
    yield from (Problem(name, f"{said}. {again}") for said in _without_source(root, code))
    if not any("grid" in cell["metadata"].get("tags", ()) for cell in code):
        return
    parameters: dict[str, Any] = notebook["metadata"].get("papermill", {}).get("parameters", {})
    if not parameters.get("train", True):  # the page itself says which cells of its grid were not run
        return
    for experiment in notebook_grid(template, parameters):
        if not (root / "book" / "records" / f"{experiment.digest}.json").exists():
            yield Problem(name, f"the Record {experiment.digest} of «{experiment}» is missing. {again}")


def _check_address(root: Path) -> Iterator[Problem]:
    """The project's address stands in pyproject.toml; files that cannot read it from there must say the same."""
    project = root / "pyproject.toml"
    if not project.exists():
        return
    address = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    owner = address.removeprefix("https://github.com/")
    files = [*root.glob("*.md"), *root.glob("*.yml"), *root.glob("*.cff"), *root.glob("notebooks/*.ipynb")]
    files += [*root.glob("book/*.md"), *root.glob(".github/**/*.yml"), *root.glob("workflow/*.py")]
    for path in sorted(files):
        for found in sorted(set(_ADDRESS.findall(path.read_text(encoding="utf-8"))) - {owner}):
            yield Problem(
                str(path.relative_to(root)),
                f"it says github.com/{found}, and pyproject.toml says {address}. Write the same in both",
            )


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


def _check_glue(root: Path, page: Path) -> Iterator[Problem]:
    name = str(page.relative_to(root))
    for found in _GLUE.finditer(page.read_text(encoding="utf-8")):
        target, key = found["inline_page"] or found["page"], found["inline_key"] or found["key"]
        notebook = (page.parent / target).resolve()
        if not notebook.exists():
            yield Problem(name, f"it takes {key!r} from {target}, which does not exist. Execute that notebook")
        elif key not in story.glued(notebook):
            yield Problem(name, f"{target} glues no {key!r}. Correct the key, or glue it there and execute it again")
