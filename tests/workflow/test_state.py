import dependencies
import nbformat
import pytest
from dependencies import digest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from state import show_state, state


@pytest.fixture
def root(tmp_path):
    for folder in ("notebooks", "book/records", "book/xtcq_book", "xtcq"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "book/xtcq_book/__init__.py").write_text("")
    (tmp_path / "book/xtcq_book/published.py").write_text('"""Says."""\nvalue = 1  # a comment\n')
    (tmp_path / "book/published").mkdir()
    (tmp_path / "book/published/xtc-c2.csv").write_text("row,metric,value\n")
    cells = [new_markdown_cell("# A title\n\nSome words."), new_code_cell("from xtcq_book import published")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks/page.ipynb")
    return tmp_path


def page_of(root, cells=2, missing=()):
    """The executed page, whose grid was as told."""
    notebook = nbformat.read(root / "notebooks/page.ipynb", as_version=4)
    told = {"text/markdown": {"xtcq": {"cells": cells, "missing": list(missing)}}}
    notebook.cells[1].outputs = [new_output("display_data", {"text/markdown": "All."}, metadata=told)]
    notebook.metadata.xtcq = {"code": digest(root / "notebooks/page.ipynb", root)}
    return notebook


def said(root, notebook):
    return [text for _, text in state(notebook, root / "notebooks/page.ipynb", root)]


def test_a_complete_page_of_todays_code(root):
    assert said(root, page_of(root)) == ["complete: 2 runs", "code unchanged since this run"]


def test_what_is_missing_and_what_came_since(root):
    (root / "book/records/aa.json").write_text("{}")
    assert said(root, page_of(root, missing=["aa", "bb"]))[:-1] == ["1 run missing", "1 run finished since"]


@pytest.mark.parametrize(
    ("file", "content", "changed"),
    [
        ("book/xtcq_book/published.py", "value = 2\n", True),
        ("book/xtcq_book/published.py", '"""Says more."""\n\n\nvalue = 1\n', False),
        ("book/published/xtc-c2.csv", "row,metric,value\nA,B,1\n", True),
        ("book/xtcq_book/other.py", "value = 2\n", False),
    ],
)
def test_code_and_data_that_the_page_reads_make_it_old_and_words_do_not(root, file, content, changed):
    page = page_of(root)
    (root / file).write_text(content)
    dependencies._read.cache_clear()
    assert said(root, page)[-1] == ("code changed since this run" if changed else "code unchanged since this run")


def test_a_page_of_before_says_that_it_does_not_know(root):
    page = page_of(root)
    del page.metadata["xtcq"]
    assert said(root, page)[-1] == "code may have changed since this run"


def test_the_line_stands_under_the_title(root):
    page = page_of(root, missing=["<b>"])
    show_state(page, root / "notebooks/page.ipynb", root)
    first, line, words = page.cells[0].source.splitlines()[::2]
    assert first == "# A title" and words == "Some words."
    assert line.startswith('<p class="page-state"><span class="note">1 run missing</span><span class="good">')
