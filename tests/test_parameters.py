import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook
from papermill.cli import papermill

from xtcq.parameters import read_parameters


def read(kind, value, name="given", **names):
    names |= {"__annotations__": {name: kind}, name: value}
    read_parameters(names)
    return names[name]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (list[str], "[sst2]", ["sst2"]),
        (list[str], "[2-2-8, 1-1-8]", ["2-2-8", "1-1-8"]),
        (list[str], '["4-32-32"]', ["4-32-32"]),
        (list[str], "[]", []),
        (list[float], ["2e-4"], [2e-4]),  # what YAML makes of [2e-4]
        (list[float], "[2e-4, 0.001, 1]", [2e-4, 1e-3, 1.0]),
        (list[float], (0.5, 1), [0.5, 1.0]),
        (list[int], "[42, 111]", [42, 111]),
        (list[int], [42.0], [42]),
        (float, "2e-4", 2e-4),
        (float, 1, 1.0),
        (int, 1000.0, 1000),  # what papermill makes of 1e3
        (int, "7", 7),
        (bool, "false", False),
        (bool, "True", True),
        (bool, False, False),
        (str, "mini", "mini"),
        (str, "[sst2]", "[sst2]"),
    ],
)
def test_text_is_read_by_the_declared_type(kind, value, expected):
    found = read(kind, value)
    assert found == expected and type(found) is type(expected)
    if isinstance(expected, list):
        assert [type(item) for item in found] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (list[int], 42, "expected list[int]: write [42], for papermill -y '{given: [42]}'"),
        (list[str], "sst2", "expected list[str]: write [sst2], for papermill -y '{given: [sst2]}'"),
        (list[float], 2e-4, "write [0.0002]"),
        (list[str], "sst2,mrpc", "write [sst2]"),
        (list[int], "[42, 1.5]", "write [42]"),
        (list[int], [True], "expected list[int]"),
        (list[float], "[2e-4", "write [2e-4]"),
        (list[str], "[007]", "expected list[str]"),
        (list[str], None, "expected list[str]"),
        (float, "fast", "expected float: write 2e-4, for papermill -y '{given: 2e-4}'"),
        (float, float("nan"), "given is nan, expected float"),
        (float, True, "expected float"),
        (int, 1.5, "expected int: write 42"),
        (int, "", "given is '', expected int"),
        (bool, 0, "expected bool: write true"),
        (bool, "no", "expected bool"),
        (str, 7, "given is 7, expected str: put it in quotes, or give papermill -r given TEXT"),
        (str, None, "expected str"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_spelling(kind, value, said):
    with pytest.raises(ValueError) as error:
        read(kind, value)
    assert said in str(error.value)


def test_a_parameter_that_the_notebook_does_not_have():
    """papermill only warns of it."""
    cells = ["", "tasks: list[str] = []", "# Parameters\ntask = 'sst2'\ntasks = ['sst2']\n", "this cell"]
    with pytest.raises(ValueError, match="no parameter task: it has tasks"):
        read(list[str], [], name="tasks", In=cells)
    cells[2] = "mine = 1"  # a cell of the reader's own
    assert read(list[str], [], name="tasks", In=cells) == []


def test_only_what_is_declared_is_touched():
    names = {"count": "7", "title": 3, "__annotations__": {"count": int}}
    read_parameters(names)
    assert (names["count"], names["title"]) == (7, 3)
    read_parameters(names := {"count": "7"})
    assert names == {"count": "7"}


@pytest.fixture
def notebook(tmp_path):
    parameters = "tasks: list[str] = []\nrates: list[float] = []\nseed: int = 42\ntrain: bool = True"
    read_them = "from xtcq.parameters import read_parameters\nread_parameters(globals())"
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += map(new_code_cell, (read_them, "print(tasks, rates, seed, train)"))
    written = new_notebook(cells=cells)
    written.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(written, tmp_path / "one.ipynb")
    return tmp_path / "one.ipynb"


def by_papermill(notebook, *options):
    page = notebook.with_name("out.ipynb")
    done = CliRunner().invoke(papermill, [str(notebook), str(page), "--no-progress-bar", *options])
    return done, nbformat.read(page, as_version=4)


def test_plain_papermill(notebook):
    options = ["-p", "tasks", "[sst2]", "-y", "{rates: [2e-4]}", "-p", "seed", "1e2", "-p", "train", "false"]
    done, page = by_papermill(notebook, *options)
    assert done.exit_code == 0, done.output
    assert page.cells[-1].outputs[0].text == "['sst2'] [0.0002] 100 False\n"


def test_plain_papermill_with_an_unknown_parameter(notebook):
    done, page = by_papermill(notebook, "-p", "task", "sst2")
    assert "the notebook has no parameter task: it has tasks, rates, seed, train" in str(done.exception)
    assert page.cells[-1].execution_count is None
