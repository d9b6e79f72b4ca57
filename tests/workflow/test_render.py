import pytest
import render
import yaml

TOC = """\
format: jb-book
root: book/index
chapters:
  - file: book/executed/teachers
"""


@pytest.fixture
def repository(tmp_path):
    for folder in ("book/executed", "book/records", "xtcq/__pycache__", "notebooks", "_build/executed/demo"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "_config.yml").write_text("title: T\nhtml:\n  use_issues_button: true\n")
    (tmp_path / "book/index.md").write_text("# T\n")
    (tmp_path / "xtcq/module.py").write_text("")
    (tmp_path / "notebooks/teachers.ipynb").write_text("template")
    return tmp_path


def test_published_edition_is_what_is_committed(repository):
    (repository / "book/executed/teachers.ipynb").write_text("published")
    (repository / "_build/executed/demo/teachers.ipynb").write_text("demo")
    source = render.stage(repository, "published")
    assert (source / "book/executed/teachers.ipynb").read_text() == "published"
    assert (source / "xtcq/module.py").exists()
    assert yaml.safe_load((source / "_config.yml").read_text()) == {"title": "T", "html": {"use_issues_button": True}}


def test_pages_of_another_scale_lie_over_the_published_ones(repository):
    (repository / "book/executed/teachers.ipynb").write_text("published")
    (repository / "_build/executed/paper").mkdir()
    (repository / "_build/executed/paper/teachers.ipynb").write_text("paper")
    source = render.stage(repository, "paper")
    assert (source / "book/executed/teachers.ipynb").read_text() == "paper"
    assert "announcement" not in yaml.safe_load((source / "_config.yml").read_text())["html"]
    assert (repository / "book/executed/teachers.ipynb").read_text() == "published"


def test_demo_edition_says_so(repository):
    (repository / "book/executed/teachers.ipynb").write_text("published")
    (repository / "_build/executed/demo/teachers.ipynb").write_text("demo")
    source = render.stage(repository, "demo")
    assert (source / "book/executed/teachers.ipynb").read_text() == "demo"
    html = yaml.safe_load((source / "_config.yml").read_text())["html"]
    assert html["use_issues_button"] and "measure nothing about the papers" in html["announcement"]
    assert (repository / "book/executed/teachers.ipynb").read_text() == "published"


def test_staging_leaves_nothing_from_before(repository):
    (repository / "_build/executed/demo/teachers.ipynb").write_text("demo")
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
