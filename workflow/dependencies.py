"""What the page of a notebook depends on: its code, the modules behind it, and the data that those read.

Nothing here runs a notebook or needs Jupyter: a workflow asks it of every notebook whenever it starts.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Packages that notebooks import from the checkout, and where they stand in it.
PACKAGES = {"xtcq": Path("xtcq"), "xtcq_book": Path("book/xtcq_book")}
# What modules read, by module: patterns below the checkout. Records are no part of it: they come by their digests.
DATA = {
    "book/xtcq_book/allocators/choices.py": ("book/xtcq_book/allocators/choices.json",),
    "book/xtcq_book/claims/ledger.py": ("book/claims.yaml",),
    "book/xtcq_book/published.py": ("book/published/*.csv",),
    "book/xtcq_book/chapters/benchmarks.py": ("benchmarks/results/*.json",),
}
_COMPUTED = ("import_module", "__import__")
# Loads modules by computed names: those that a package tells type checkers of.
_LAZY = "xtcq.lazy"


class _UnknownImport(Exception):
    """An import whose module is not known before it runs."""


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

    Imports inside functions count: a figure that is drawn late is drawn all the same. Only what a package loads on
    demand counts for those alone who take a name that the package does not have by itself.

    Args:
        notebook: a template.
        root: the checkout.

    Returns:
        Files of `PACKAGES`, sorted. All of them if the cells cannot be read as Python, or if something is imported by a
        name that is computed.
    """
    files = {name: path for package in PACKAGES for name, path in _files(package, root)}
    walk = _Walk(files)
    try:
        for cell in _code(notebook):
            walk.follow("", _parsed_cell("".join(cell["source"])))
    except (_UnknownImport, SyntaxError):
        return sorted(files.values())
    return sorted(files[name] for name in walk.found)


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
        found.update(f"{name}\n{_meaning(path)}\n".encode())
        for data in sorted(file for pattern in DATA.get(name, ()) for file in root.glob(pattern)):
            found.update(data.name.encode() + data.read_bytes())
    return found.hexdigest()


@cache
def _meaning(path: Path) -> str:
    """The code of a module as Python reads it, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            node.body = node.body[1:] if said else node.body
    return ast.dump(tree)


def _code(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _files(package: str, root: Path) -> Iterator[tuple[str, Path]]:
    folder = root / PACKAGES[package]
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join([package, *(part for part in parts if part != "__init__")]), path


class _Walk:
    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.found: set[str] = set()

    def follow(self, module: str, tree: ast.Module) -> None:
        """Add what is imported in a module, or in a part of it."""
        for node in _imports(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._add(alias.name)
                    self._take(alias.name, "*")
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(module, node)
                self._add(base)
                for alias in node.names:
                    self._add(f"{base}.{alias.name}")
                    self._take(base, alias.name)
            elif module != _LAZY:
                raise _UnknownImport(ast.unparse(node))

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        """Name of what is imported from, where it may be given relative to a module."""
        parts = module.split(".") if node.level else []
        up = node.level - (node.level and self.files[module].name == "__init__.py")
        return ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])

    def _add(self, name: str) -> None:
        """Add a module, if it is one of ours, and the packages that it lies in, each of which runs before it."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module in self.files and module not in self.found:
                self.found.add(module)
                self.follow(module, _parsed(self.files[module]))

    def _take(self, module: str, name: str) -> None:
        """Add where a package says that a name comes from which it loads late; ``*`` stands for any."""
        if module in self.files and f"{module}.{name}" not in self.files:
            for node in _late(_parsed(self.files[module])):
                if name == "*" or name in {alias.asname or alias.name for alias in node.names}:
                    self.follow(module, ast.Module([node], []))


def _parsed_cell(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:
        # A line for the shell or for IPython imports nothing, but may be all that stands in a block.
        lines = [re.sub(r"^(\s*)[!%].*", r"\1pass", line) for line in source.splitlines()]
        return ast.parse("\n".join(lines))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(tree: ast.Module) -> list[ast.AST]:
    kinds = (ast.Import, ast.ImportFrom)
    return [node for node in _statements(tree) if isinstance(node, kinds) or _is_computed(node)]


def _is_computed(node: ast.AST) -> bool:
    name = node.func if isinstance(node, ast.Call) else None
    return getattr(name, "id", getattr(name, "attr", None)) in _COMPUTED


def _late(tree: ast.Module) -> list[ast.ImportFrom]:
    """What a package tells type checkers of names that it loads when they are asked for."""
    blocks = [node for node in tree.body if _is_checked_alone(node)]
    return [node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom)]


def _is_checked_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """What may run when a module is imported or used; not what type checkers alone read."""
    for child in ast.iter_child_nodes(tree):
        if not _is_checked_alone(child):
            yield child
            yield from _statements(child)
