import json

import pytest
from xtcq_book import story
from xtcq_book.gates import check_book

from xtcq.study import load_profile
from xtcq.study.records import save_record

GRID = "from xtcq.study import load_profile\ngrid = [load_profile('mini').teacher(task) for task in tasks]"


def code(source, tags=(), outputs=()):
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}, "outputs": list(outputs)}


@pytest.fixture
def checkout(tmp_path, monkeypatch, make_record):
    """A checkout with one chapter, executed, and the Record it needs."""
    monkeypatch.setattr(story, "LISTS", ("chapter",))  # what a chapter says has its own tests
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path / "book" / "records"))
    record = make_record(**load_profile("mini").teacher("mrpc").to_dict())
    save_record(record)
    parameters, grid = code("tasks: list[str] = []", ["parameters"]), code(GRID, ["grid"])
    injected = code("tasks = ['mrpc']", ["injected-parameters"])
    template = {"cells": [parameters, grid, code("best()")], "metadata": {}}
    metadata = {"papermill": {"parameters": {"tasks": ["mrpc"]}}}
    executed = {"cells": [parameters, injected, grid, code("best()")], "metadata": metadata}
    for folder, notebook in (("notebooks", template), ("book/executed", executed)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "chapter.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/us/xtcq"\n')
    return tmp_path


def change(path, edit):
    notebook = json.loads(path.read_text())
    edit(notebook)
    path.write_text(json.dumps(notebook))


def only(problems):
    assert len(problems) == 1, problems
    return problems[0]


def shown(html):
    return {"output_type": "display_data", "data": {"text/html": [html]}, "metadata": {}}


TABLE, SOURCE = "<table><tr><td>1</td></tr></table>", '<details class="provenance"></details>'


@pytest.mark.parametrize("html", [TABLE, "<figure><svg></svg></figure>"])
def test_tables_and_figures_say_where_they_come_from(checkout, html):
    page = checkout / "book/executed/chapter.ipynb"
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].append(shown(html)))
    assert "what «best()» shows does not say where it comes from" in only(check_book(checkout))
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].append(shown(html + SOURCE)))
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].pop(-2))
    assert check_book(checkout) == []


def test_a_picture_without_a_source_is_found_and_those_of_the_method_need_none(checkout):
    page, picture = checkout / "book/executed/chapter.ipynb", {"output_type": "display_data", "metadata": {}}
    picture["data"] = {"image/png": "AAAA"}
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].append(picture))
    assert "does not say where it comes from" in only(check_book(checkout))
    change(page, lambda notebook: notebook["cells"][-1]["metadata"]["tags"].append("method"))
    assert check_book(checkout) == []


def test_a_link_to_a_record_that_is_not_there_is_found(checkout):
    (there,) = (checkout / "book/records").glob("*.json")
    linked = TABLE + SOURCE + "".join(f'<a href="../records/{name}.json">1</a>' for name in (there.stem, "0" * 16))
    change(checkout / "book/executed/chapter.ipynb", lambda n: n["cells"][-1]["outputs"].append(shown(linked)))
    assert f"the Record {'0' * 16}.json, which is not in book/records" in only(check_book(checkout))


def test_a_sound_edition_passes(checkout):
    assert check_book(checkout) == []


def test_a_changed_template(checkout):
    change(checkout / "notebooks" / "chapter.ipynb", lambda n: n["cells"][2].update(source="worst()"))
    assert "book/executed/chapter.ipynb: its code is not that of notebooks/chapter.ipynb. Execute it again" in only(
        check_book(checkout)
    )


def test_a_chapter_that_says_nothing(checkout, monkeypatch):
    monkeypatch.setattr(story, "LISTS", ())
    problems = check_book(checkout)
    assert "notebooks/chapter.ipynb: its second cell of prose is to be the one tagged in-short." in problems


def test_changed_prose_needs_no_new_execution(checkout):
    prose = {"cell_type": "markdown", "source": "new words", "metadata": {}}
    change(checkout / "notebooks" / "chapter.ipynb", lambda n: n["cells"].insert(0, prose))
    assert check_book(checkout) == []


@pytest.mark.parametrize("how", ["flag", "output"])
def test_a_failed_notebook(checkout, how):
    def fail(notebook):
        if how == "flag":
            notebook["metadata"]["papermill"]["exception"] = True
        else:
            notebook["cells"][3]["outputs"].append({"output_type": "error"})

    change(checkout / "book" / "executed" / "chapter.ipynb", fail)
    assert "its execution failed" in only(check_book(checkout))


def test_a_cell_that_warned(checkout):
    said = {"output_type": "stream", "name": "stderr", "text": ["cell.py:15: UserWarning: This pattern\n", "  has"]}
    quiet = {"output_type": "stream", "name": "stdout", "text": ["trained"]}
    bar = {
        "output_type": "stream",
        "name": "stderr",
        "text": ["\rmodel:   0%|   | 0.00/90M", "\rmodel: 100%|###| 90M/90M\n"],
    }
    page = checkout / "book/executed/chapter.ipynb"
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].extend([quiet, bar]))
    assert check_book(checkout) == []
    change(page, lambda notebook: notebook["cells"][-1]["outputs"].append(said))
    assert "a cell warned: cell.py:15: UserWarning: This pattern has. Execute it again" in only(check_book(checkout))


def test_a_missing_record(checkout):
    record = next((checkout / "book" / "records").iterdir())
    record.unlink()
    assert f"the Record {record.stem} of «mrpc 32-32-32 finetune" in only(check_book(checkout))


def test_a_record_of_an_older_schema(checkout):
    record = next((checkout / "book" / "records").iterdir())
    record.write_text(record.read_text().replace('"schema": 2', '"schema": 0'))
    assert "has schema 0" in only(check_book(checkout))


def test_a_page_drawn_from_what_is_there_may_miss_records(checkout):
    next((checkout / "book" / "records").iterdir()).unlink()
    parameters = {"tasks": ["mrpc"], "train": False}
    change(
        checkout / "notebooks" / "chapter.ipynb",
        lambda n: n["cells"][0].update(source="tasks: list[str] = []\ntrain: bool = True"),
    )
    change(
        checkout / "book" / "executed" / "chapter.ipynb",
        lambda n: (
            n["cells"][0].update(source="tasks: list[str] = []\ntrain: bool = True"),
            n["metadata"]["papermill"].update(parameters=parameters),
        ),
    )
    assert check_book(checkout) == []


def test_the_address_stands_in_one_place(checkout):
    (checkout / "README.md").write_text(
        "See https://github.com/us/xtcq/issues and https://github.com/zhutmost/lsq-net."
    )
    assert check_book(checkout) == []
    badge = "https://colab.research.google.com/github/them/xtcq/blob/v1.0.0/notebooks/chapter.ipynb"
    (checkout / "CONTRIBUTING.md").write_text(f"[Open]({badge})")
    assert only(check_book(checkout)) == (
        "CONTRIBUTING.md: it says github.com/them/xtcq, and pyproject.toml says https://github.com/us/xtcq. "
        "Write the same in both."
    )
