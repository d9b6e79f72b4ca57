import json
import subprocess
import sys
from pathlib import Path

import pytest
from dependencies import DATA, code_digest, modules

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def of_pages():
    """Files by notebook, as the checkout has them."""
    pages = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return {page.stem: {str(path.relative_to(ROOT)) for path in modules(page, ROOT)} for page in pages}


def using(of_pages, path):
    assert (ROOT / path).exists()
    return {page for page, files in of_pages.items() if path in files}


def test_what_one_chapter_draws_is_no_reason_to_execute_another(of_pages):
    assert using(of_pages, "book/xtcq_book/chapters/benchmarks.py") == {"benchmarks", "synthesis"}
    assert using(of_pages, "book/xtcq_book/chapters/geometry.py") == {"weight-geometry"}


def test_what_trains_is_part_of_every_page_that_trains(of_pages):
    trained = using(of_pages, "xtcq/training/trainer.py")
    grids = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if '"grid"' in path.read_text()}
    assert grids <= trained
    assert using(of_pages, "xtcq/quantization/quantizers.py") == set(of_pages)


def test_modules_that_read_data_and_the_data_are_there(of_pages):
    for module, pattern in DATA.items():
        assert using(of_pages, module) and list(ROOT.glob(pattern)), module


def test_nothing_is_loaded_that_was_not_found(of_pages):
    """The imports of the page that takes least of the library, run by Python itself."""
    cells = json.loads((ROOT / "notebooks/errata.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    imports = [line for line in lines if line.startswith(("import ", "from ")) and "google" not in line]
    shown = "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] in ('xtcq', 'xtcq_book')))"
    code = "\n".join(["import sys", f"sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'book')!r}]", *imports, shown])
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    files = {str(Path(file).relative_to(ROOT)) for file in loaded}
    assert len(files) > 20 and files <= of_pages["errata"]


@pytest.fixture
def found(tmp_path):
    """The files that cells import, in a checkout with the given modules."""
    sources = {
        "xtcq/__init__.py": "if TYPE_CHECKING:\n    from xtcq.study import run",
        "xtcq/study/__init__.py": "",
        "xtcq/study/run.py": "def run():\n    from xtcq.train import train",
        "xtcq/train.py": "",
        "xtcq/unused.py": "",
        "book/xtcq_book/__init__.py": "",
        "book/xtcq_book/draw.py": "from xtcq_book import colours",
        "book/xtcq_book/colours.py": "",
    }
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)

    def find(*cells):
        notebook = {"cells": [{"cell_type": "code", "source": cell} for cell in cells]}
        (tmp_path / "page.ipynb").write_text(json.dumps(notebook))
        return {str(path.relative_to(tmp_path)) for path in modules(tmp_path / "page.ipynb", tmp_path)}

    find.everything = set(sources)
    return find


STUDY = {"xtcq/__init__.py", "xtcq/study/__init__.py", "xtcq/study/run.py", "xtcq/train.py"}
DRAWN = {"book/xtcq_book/__init__.py", "book/xtcq_book/draw.py", "book/xtcq_book/colours.py"}


@pytest.mark.parametrize(
    ("cell", "files"),
    [
        ("import os", set()),
        ("from xtcq import anything", STUDY),
        ("import xtcq.study.run", STUDY),
        ("from xtcq_book.draw import anything", DRAWN),
        ("from xtcq_book import draw as d", DRAWN),
        ("def late():\n    import xtcq_book.draw", DRAWN),
    ],
)
def test_what_a_cell_imports(found, cell, files):
    assert found("x = 1", cell) == files


def test_cells_that_are_no_plain_python_may_import_everything(found):
    assert found("%cd x\nimport os") == found.everything


def test_the_digest_follows_the_code_alone(tmp_path):
    def digest(*cells):
        (tmp_path / "page.ipynb").write_text(json.dumps({"cells": cells}))
        return code_digest(tmp_path / "page.ipynb")

    def code(source, *tags, **fields):
        return {"cell_type": "code", "source": source, "metadata": {"tags": tags}} | fields

    words, head = {"cell_type": "markdown", "source": "words"}, code("rate: float = 1e-4", "parameters")
    before = digest(words, head, code("print(rate)"))
    injected, executed = code("rate = 1", "injected-parameters"), code(["print", "(rate)"], outputs=[{"text": "1"}])
    assert digest(words | {"source": "other words"}, head, injected, executed) == before
    assert digest(words, head, code("print(rate )")) != before
    assert digest(words, code("rate: float = 2e-4"), code("print(rate)")) != before
