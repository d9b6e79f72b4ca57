import json
import os
import subprocess
import sys
from pathlib import Path

import execute
import nbformat
import pytest
from dependencies import code_digest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.exceptions import PapermillExecutionError
from typer.testing import CliRunner

DECLARED = 'profile: str = "demo"\nseeds: list[int] = [42]\nrate: float = 1e-4\nrank: int = 0\nresume: bool = False'


@pytest.fixture
def write(tmp_path):
    def write(*cells, parameters=DECLARED, name="chapter"):
        head = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[new_markdown_cell("# Title"), head, *map(new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def no_kernel(monkeypatch):
    def start(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(execute.papermill, "execute_notebook", start)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1}, ["unknown parameter 'seed' = 1", "seeds: list[int] = [42]"]),
        ({"seeds": 42}, ["'seeds' = 42 is of type int", "seeds: list[int] = [42]"]),
        ({"seeds": [42, "7"]}, ["'seeds' = [42, '7']", "list[int]"]),
        ({"rate": "1e-4"}, ["'rate' = '1e-4' is of type str", "rate: float"]),
        ({"rank": 1.0}, ["'rank' = 1.0 is of type float", "rank: int"]),
        ({"rank": True}, ["'rank' = True is of type bool", "rank: int"]),
        ({"resume": 1}, ["'resume' = 1 is of type int", "resume: bool"]),
        ({"profile": None}, ["'profile' = None", "profile: str"]),
    ],
)
def test_parameter_that_does_not_fit(write, tmp_path, no_kernel, given, said):
    with pytest.raises(execute.ParameterError) as error:
        execute.execute(write(), tmp_path / "page.ipynb", tmp_path / "chapter.log", given)
    for words in said:
        assert words in str(error.value)


def test_parameters_that_fit(write):
    fitting = {"profile": "mini", "seeds": [42, 111], "rate": 1, "rank": 8, "resume": True}
    execute.check_parameters(write(), fitting)
    nested = write(parameters="grid: dict[str, list[float]] = {}")
    execute.check_parameters(nested, {"grid": {"1-1-8": [1e-4, 2]}})
    with pytest.raises(execute.ParameterError, match="'grid'"):
        execute.check_parameters(nested, {"grid": {"1-1-8": ["1e-4"]}})


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("rate: float = 1e-4\ntwice: float = rate * 2", "'twice' is set to 'rate \\* 2', which is computed"),
        ("rate = 1e-4", "'rate' has no type"),
        ("keep: tuple[int, int] = (1, 2)", "annotation 'tuple\\[int, int\\]' is not one of int"),
    ],
)
def test_parameters_cell_that_is_no_annotated_literal(write, cell, said):
    given = {"keep": [1, 2]} if cell.startswith("keep") else {}
    with pytest.raises(execute.ParameterError, match=said):
        execute.check_parameters(write(parameters=cell), given)


def test_template_that_lost_its_kernel(write):
    template = write()
    notebook = json.loads(template.read_text())
    del notebook["metadata"]["kernelspec"]
    template.write_text(json.dumps(notebook))
    with pytest.raises(execute.ParameterError, match="kernelspec is missing"):
        execute.check_parameters(template, {})


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ('{"rate": NaN}', "NaN is no number"), ("[1]", "object")]
)
def test_parameters_that_are_no_json_object(text, said):
    with pytest.raises(execute.ParameterError, match=said):
        execute.parse_parameters(text)


def test_success_is_put_in_place_and_repeats_to_the_byte(write, tmp_path):
    template = write("print(f'{profile} {seeds}')")
    page, log = tmp_path / "executed" / "chapter.ipynb", tmp_path / "logs" / "chapter.log"
    execute.execute(template, page, log, {"profile": "mini", "seeds": [1, 2]})
    first = page.read_bytes()
    notebook = nbformat.read(page, as_version=4)
    assert notebook.cells[-1].outputs[0].text == "mini [1, 2]\n"
    assert notebook.metadata.papermill == {"parameters": {"profile": "mini", "seeds": [1, 2]}}
    assert code_digest(page) == code_digest(template)
    assert "mini [1, 2]" in log.read_text()
    assert [path.name for path in page.parent.iterdir()] == ["chapter.ipynb"]
    assert [path.name for path in log.parent.iterdir()] == ["chapter.log"]
    execute.execute(template, page, log, {"profile": "mini", "seeds": [1, 2]})
    assert page.read_bytes() == first


def test_failure_stays_beside_the_log_and_leaves_the_page(write, tmp_path):
    page, log = tmp_path / "executed" / "chapter.ipynb", tmp_path / "logs" / "chapter.log"
    page.parent.mkdir()
    page.write_text("an earlier page")
    with pytest.raises(PapermillExecutionError, match="no such task"):
        execute.execute(write("print('before')", "raise KeyError('no such task')", "print('after')"), page, log)
    assert page.read_text() == "an earlier page"
    failed = nbformat.read(log.with_suffix(".failed.ipynb"), as_version=4)
    assert "before" in json.dumps(failed.cells) and failed.metadata.papermill.exception
    assert sorted(path.name for path in log.parent.iterdir()) == ["chapter.failed.ipynb", "chapter.log"]
    execute.execute(write("print('well')"), page, log)
    assert [path.name for path in log.parent.iterdir()] == ["chapter.log"]


def test_command_line_says_what_failed(write, tmp_path):
    command = [sys.executable, execute.__file__, write("1 / 0"), tmp_path / "page.ipynb", "--log", tmp_path / "c.log"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert str(tmp_path / "c.failed.ipynb") in done.stderr


def test_command_line_says_which_parameter_is_wrong(write, tmp_path, no_kernel):
    command = [write(), tmp_path / "page.ipynb", "--log", tmp_path / "c.log", "--parameters", '{"seed": 1}']
    done = CliRunner().invoke(execute.app, list(map(str, command)))
    assert done.exit_code == 1 and "error: " in done.output and "unknown parameter 'seed' = 1" in done.output


def test_side_by_side_each_kernel_has_its_own_sockets(write, tmp_path):
    template = write(
        "from ipykernel import get_connection_info\ninfo = get_connection_info(unpack=True)",
        "print(rank, info['transport'], info['ip'])",
    )
    running = [
        subprocess.Popen(
            [sys.executable, execute.__file__, template, tmp_path / f"{rank}.ipynb", "--log", tmp_path / f"{rank}.log"]
            + ["--parameters", json.dumps({"rank": rank})]
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    pages = [nbformat.read(tmp_path / f"{rank}.ipynb", as_version=4) for rank in range(2)]
    said = [page.cells[-1].outputs[0].text.split() for page in pages]
    assert [words[:2] for words in said] == [[str(rank), "ipc"] for rank in range(2)]
    assert len({words[2] for words in said}) == 2


def test_card_is_held_by_one_execution(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(execute.Path, "glob", lambda *_: iter([Path("nvidia0"), Path("nvidia1")]))
    monkeypatch.setattr(execute.time, "sleep", lambda _: None)
    with execute.one_gpu(tmp_path):
        first = os.environ.pop("CUDA_VISIBLE_DEVICES")
        with execute.one_gpu(tmp_path):
            assert {first, os.environ["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
        os.environ["CUDA_VISIBLE_DEVICES"] = "7"
        with execute.one_gpu(tmp_path):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
