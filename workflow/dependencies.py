"""What the page of a notebook depends on: its code, the modules behind it, and the data that those read.

Nothing here runs a notebook or needs Jupyter: a workflow asks it of every notebook whenever it starts.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

# Packages that notebooks import from the checkout, and where they stand in it.
PACKAGES = {"xtcq": Path("xtcq"), "xtcq_book": Path("book/xtcq_book")}
# What modules read, by module: a pattern below the checkout. Records are no part of it: they come by their digests.
DATA = {
    "book/xtcq_book/allocators/choices.py": "book/xtcq_book/allocators/choices.json",
    "book/xtcq_book/claims/ledger.py": "book/claims.yaml",
    "book/xtcq_book/published.py": "book/published/*.csv",
    "book/xtcq_book/chapters/benchmarks.py": "benchmarks/results/*.json",
}


def code_digest(notebook: Path) -> str:
    """SHA-256 over the code cells of a notebook, without the cell that papermill injects.

    A template and what was executed from it have the same digest, whatever was written in Markdown since.

    Args:
        notebook: a template or an executed page.
    """
    own = [cell for cell in _code(notebook) if "injected-parameters" not in cell["metadata"].get("tags", ())]
    sources = ["".join(cell["source"]) for cell in own]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def modules(notebook: Path, root: Path = Path()) -> list[Path]:
    """Find the modules whose change may change what a notebook shows, without running anything.

    Imports inside functions count: a figure that is drawn late is drawn all the same. So does what a package loads when
    a name is asked for, which it imports for type checkers.

    Args:
        notebook: a template.
        root: the checkout.

    Returns:
        Files of `PACKAGES`, sorted; all of them if a cell is no plain Python.
    """
    files = {}
    for package, below in PACKAGES.items():
        for path in (root / below).rglob("*.py"):
            parts = path.relative_to(root / below).with_suffix("").parts
            files[".".join([package, *(part for part in parts if part != "__init__")])] = path
    try:
        left = [name for cell in _code(notebook) for name in _imports(ast.parse("".join(cell["source"])))]
    except SyntaxError:
        return sorted(files.values())
    found = set()
    while left:
        parts = left.pop().split(".")
        # The packages that a module lies in run before it.
        for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
            if name in files and name not in found:
                found.add(name)
                left += _read(files[name])[0]
    return sorted(files[name] for name in found)


def digest(notebook: Path, root: Path = Path()) -> str:
    """SHA-256 over all that a page depends on: its code, that of its modules, and the data that these read.

    Comments, docstrings and layout do not count: they change nothing on a page.

    Args:
        notebook: a template.
        root: the checkout.
    """
    found = hashlib.sha256(code_digest(notebook).encode())
    for path in modules(notebook, root):
        name = path.relative_to(root).as_posix()
        found.update(f"{name}\n{_read(path)[1]}\n".encode())
        for data in sorted(root.glob(DATA[name])) if name in DATA else ():
            found.update(data.name.encode() + data.read_bytes())
    return found.hexdigest()


def _code(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _imports(tree: ast.Module) -> list[str]:
    """Dotted names of all that is imported, of which only the front may be a module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = [node.module] if isinstance(node, ast.ImportFrom) else []
            found += [".".join([*base, alias.name]) for alias in node.names]
    return found


@cache
def _read(path: Path) -> tuple[list[str], str]:
    """What a module imports, and its code as Python reads it, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            node.body = node.body[1:] if said else node.body
    return _imports(tree), ast.dump(tree)
