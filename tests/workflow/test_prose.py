import nbformat
import prose
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def write(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


@pytest.fixture
def page(tmp_path):
    shown = [new_output("stream", text="7\n")]
    return write(
        tmp_path / "page.ipynb",
        new_markdown_cell("old words", id="a"),
        new_code_cell("seed = 42", id="b", metadata={"tags": ["parameters"]}),
        new_code_cell("seed = 7", id="injected-parameters", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("print(seed)", id="c", outputs=shown, execution_count=2),
    )


def test_prose_is_taken_over_and_outputs_stay(page, tmp_path):
    before = nbformat.read(page, as_version=4)
    parameters = new_code_cell("seed = 42", id="b", metadata={"tags": ["parameters"]})
    template = write(
        tmp_path / "template.ipynb",
        new_markdown_cell("new words", id="a"),
        parameters,
        new_markdown_cell("more words", id="d"),
        new_code_cell("print(seed)", id="c"),
    )
    assert prose.take_over(template, page)
    after = nbformat.read(page, as_version=4)
    assert [cell.id for cell in after.cells] == ["a", "b", "injected-parameters", "d", "c"]
    assert after.cells[0].source == "new words" and after.cells[3].source == "more words"
    assert [after.cells[i] for i in (1, 2, 4)] == before.cells[1:]
    stamp = page.stat().st_mtime_ns
    assert not prose.take_over(template, page) and page.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("cells", [["seed = 42", "print(seed + 1)"], ["seed = 42"], ["seed = 42", "print(seed)", "1"]])
def test_other_code_needs_an_execution(page, tmp_path, cells):
    template = write(tmp_path / "template.ipynb", new_markdown_cell("new words"), *map(new_code_cell, cells))
    before = page.read_bytes()
    with pytest.raises(ValueError, match="differ in more than prose: execute the notebook again"):
        prose.take_over(template, page)
    assert page.read_bytes() == before
