import nbformat
import pytest
import render
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

TOC = """\
format: jb-book
root: book/index
chapters:
  - file: book/executed/teachers
"""


@pytest.fixture
def repository(tmp_path):
    made = ("_build/executed/demo", "_build/executed/paper")
    for folder in ("book/executed", "book/records", "xtcq/__pycache__", "notebooks", *made):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "_config.yml").write_text("title: T\nhtml:\n  use_issues_button: true\n")
    (tmp_path / "book/index.md").write_text("# T\n")
    (tmp_path / "xtcq/module.py").write_text("")
    write(tmp_path / "notebooks/teachers.ipynb", new_code_cell("1"))
    return tmp_path


def write(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)


def execute(path, said):
    """A page of the repository's template, with an output."""
    write(path, new_code_cell("1", outputs=[new_output("stream", text=said)]))


def said(path):
    return nbformat.read(path, as_version=4).cells[-1].outputs[0].text


@pytest.mark.parametrize("edition", ["published", "demo", "paper"])
def test_pages_of_an_edition_lie_over_the_published_ones(repository, edition):
    page = "book/executed/teachers.ipynb"
    execute(repository / page, "published")
    for other in ("demo", "paper"):
        execute(repository / "_build/executed" / other / "teachers.ipynb", other)
    source = render.stage(repository, edition)
    assert said(source / page) == edition and said(repository / page) == "published"
    assert (source / "xtcq/module.py").exists()
    html = yaml.safe_load((source / "_config.yml").read_text())["html"]
    assert html["use_issues_button"]
    assert ("measure nothing about the papers" in html.get("announcement", "")) == (edition == "demo")


def test_staging_leaves_nothing_from_before(repository):
    execute(repository / "_build/executed/demo/teachers.ipynb", "demo")
    render.stage(repository, "demo")
    with pytest.raises(render.StagingError):
        render.stage(repository, "published")


@pytest.mark.parametrize(
    ("edition", "remedy"), [("published", "snakemake --config profile=mini"), ("demo", "make book")]
)
def test_page_that_was_not_executed(repository, edition, remedy):
    with pytest.raises(render.StagingError) as error:
        render.stage(repository, edition)
    for words in ("book/executed/teachers", "notebooks/teachers.ipynb", edition, remedy):
        assert words in str(error.value)


def test_page_that_nobody_wrote(repository):
    (repository / "_toc.yml").write_text(TOC + "  - file: book/lost\n")
    with pytest.raises(render.StagingError, match="neither book/lost.md nor notebooks/lost.ipynb exists"):
        render.stage(repository, "published")


def test_every_staged_page_has_new_prose_and_the_committed_one_stays(repository):
    execute(repository / "book/executed/teachers.ipynb", "published")
    write(repository / "notebooks/teachers.ipynb", new_markdown_cell("new words"), new_code_cell("1"))
    source = render.stage(repository, "published")
    staged, kept = (nbformat.read(root / "book/executed/teachers.ipynb", as_version=4) for root in (source, repository))
    assert [cell.source for cell in staged.cells] == ["new words", "1"] and len(kept.cells) == 1


@pytest.fixture
def page():
    cells = [
        new_markdown_cell("old words", id="a"),
        new_code_cell("seed = 42", id="b", metadata={"tags": ["parameters"]}),
        new_code_cell("seed = 7", id="injected-parameters", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("print(seed)", id="c", outputs=[new_output("stream", text="7\n")], execution_count=2),
    ]
    return new_notebook(cells=cells)


def test_prose_is_that_of_the_template_and_outputs_stay(page):
    before = page.cells
    words = [new_markdown_cell("new words"), new_markdown_cell("more words")]
    code = [new_code_cell("seed = 42"), new_code_cell("print(seed)")]
    render.renew_prose(page, new_notebook(cells=[words[0], code[0], words[1], code[1]]))
    assert page.cells == [words[0], before[1], before[2], words[1], before[3]]


@pytest.mark.parametrize("cells", [["seed = 42", "print(seed + 1)"], ["seed = 42"], ["seed = 42", "print(seed)", "1"]])
def test_a_page_of_other_code_stays(page, cells):
    before = list(page.cells)
    render.renew_prose(page, new_notebook(cells=[new_markdown_cell("new words"), *map(new_code_cell, cells)]))
    assert page.cells == before
