import json

import pytest
from typer.testing import CliRunner

from xtcq.__main__ import app
from xtcq.study import Experiment


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def cost(*arguments):
    result = invoke("cost", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_cost_of_the_papers_main_rows():
    one_bit = cost("--arch", "bert-base", "--precision", "1-1-8", "--recipe", "xtc")
    assert set(one_bit) >= {"nominal_mib", "packed_mib", "embedding_mb", "bitops", "parameters"}
    assert one_bit["nominal_mib"] == pytest.approx(13.04, abs=0.005)
    assert cost("--precision", "2-4-4", "--recipe", "adaqat")["bitops"] == pytest.approx(0.684e9, rel=1e-3)
    assert cost("--precision", "1-1-8", "--layers", 6)["nominal_mib"] == pytest.approx(7.97, abs=0.005)
    assert cost("--precision", "8-8", "--embeddings", "4-32-4")["embedding_mb"] == pytest.approx(11.92, abs=0.005)


def test_cost_as_a_table_names_its_units():
    result = invoke("cost")
    assert result.stdout.split()[:2] == ["nominal_mib", "13.04"] and "109,482,240" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--precision", "9-9-9"), "9"), (("--recipe", "gptq"), "gptq"), (("--arch", "gpt"), "gpt")],
)
def test_cost_errors_are_one_line(arguments, message):
    result = invoke("cost", *arguments)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output


def test_run_lists_what_is_open(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path))
    experiment = Experiment(task="mrpc", epochs=3, learning_rate=5e-5)
    (tmp_path / "e.json").write_text(json.dumps([experiment.to_dict()]))
    result = invoke("run", tmp_path / "e.json", "--dry-run")
    assert result.exit_code == 0 and f"open  {experiment.digest}  mrpc 32-32-32 finetune" in result.stdout
    (tmp_path / "record.json").write_text(json.dumps({"schema": 1, "experiment": experiment.to_dict(), "best": {}}))
    assert experiment.digest in invoke("run", tmp_path / "record.json", "--dry-run").stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"task": "mrpc"}', "are needed"),
        ("{", "e.json is no JSON: Expecting"),
        ("[" * 100_000, "e.json is no JSON"),
        (
            '{"task": "mrpc", "epochs": 1, "epochs": 9, "learning_rate": 1}',
            "e.json is no JSON: 'epochs' is there twice",
        ),
        ('{"task": "x", "epochs": 1, "learning_rate": 1}', "x"),
        ("[]", "e.json holds an empty list"),
        ("[7]", "e.json: "),
    ],
)
def test_run_refuses_bad_experiments(tmp_path, content, message):
    (tmp_path / "e.json").write_text(content)
    result = invoke("run", tmp_path / "e.json")
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("[1]", "--parameters is [1], expected an object"),
        ("{", "--parameters is no JSON: Expecting"),
        ('{"rates": 42}', "rates is 42, expected list[float]: write [42]"),
        ('{"rates": []}', "one.ipynb holds an empty list"),
        ('{"seeds": []}', "has no parameter seeds: it has rates"),
    ],
)
def test_parameters_of_a_notebook_that_are_refused(a_study, parameters, message):
    result = invoke("run", a_study.parents[1] / "notebooks" / "one.ipynb", "--parameters", parameters)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": [{}]}'])
def test_a_file_that_is_no_notebook(tmp_path, content):
    (tmp_path / "one.ipynb").write_text(content)
    result = invoke("run", tmp_path / "one.ipynb")
    assert result.exit_code == 1 and "one.ipynb is no notebook" in result.stderr


class InvalidArgument(Exception):
    """What a library may raise: of no kind that Python has."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("name"), "error: KeyError: 'name' (XTCQ_DEBUG=1 shows where)"),
        (TypeError("no list"), "error: TypeError: no list (XTCQ_DEBUG=1 shows where)"),
        (InvalidArgument("idx=18"), "error: InvalidArgument: idx=18"),
        (FloatingPointError("the loss is nan"), "error: the loss is nan"),
    ],
)
def test_any_error_is_one_line_unless_it_is_looked_for(error, message, monkeypatch):
    def raising(*args, **options):
        raise error

    monkeypatch.setattr("xtcq.quantization.cost_report", raising)
    monkeypatch.delenv("XTCQ_DEBUG", raising=False)
    result = invoke("cost")
    assert result.exit_code == 1 and result.stderr.startswith(message) and result.stderr.count("\n") == 1
    monkeypatch.setenv("XTCQ_DEBUG", "1")
    assert invoke("cost").exception is error


def test_usage_is_still_explained():
    result = invoke("cost", "--nonsense")
    assert result.exit_code == 2 and "No such option" in result.output


@pytest.fixture
def a_study(tmp_path, monkeypatch):
    """A study of two experiments, with folders of its own."""
    for name in ("RECORDS", "RUNS"):
        monkeypatch.setenv(f"XTCQ_{name}", str(tmp_path / name.lower()))
    monkeypatch.delenv("XTCQ_COMPUTE", raising=False)
    cells = {
        "parameters": "rates: list[float] = []",
        "grid": "from xtcq.study import Experiment\n"
        "grid = [Experiment(task='mrpc', epochs=1, learning_rate=rate) for rate in rates]",
    }
    for folder in ("notebooks", "workflow"):
        (tmp_path / folder).mkdir()
    content = {"cells": [{"source": text, "metadata": {"tags": [tag]}} for tag, text in cells.items()]}
    (tmp_path / "notebooks" / "one.ipynb").write_text(json.dumps(content))
    path = tmp_path / "workflow" / "study.json"
    path.write_text(json.dumps([{"notebook": "one", "parameters": {"rates": [1e-4, 2e-4]}}]))
    return path


def test_study_lists_what_is_left_in_its_order(a_study):
    result = invoke("study", "--source", a_study, "--dry-run")
    assert result.exit_code == 0 and [line.split()[1] for line in result.stdout.splitlines()] == ["115", "115"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--deadline", "-5"), "the deadline is -5.0 minutes from now: give a positive number"),
        (("--only", "two"), "has no notebook two: it has one"),
        (("--compute", "int8"), "use one of auto, fp32, tf32, bf16"),
        (("--source", "nowhere.json"), "nowhere.json"),
    ],
)
def test_study_errors_are_one_line(a_study, arguments, message):
    result = invoke("study", "--source", a_study, *arguments)
    assert result.exit_code in (1, 2) and message in result.stderr and "Traceback" not in result.output


def test_records_travel_as_one_file(a_study, make_record_file, tmp_path, monkeypatch):
    archive = tmp_path / "records.zip"
    assert invoke("study", "import", archive).exit_code == 1
    make_record_file(archive)
    assert "1 new Records; 0 were here already" in invoke("study", "import", archive).stdout
    assert "0 new Records; 1 were here already" in invoke("study", "import", archive).stdout
    listed = invoke("study", "--source", a_study, "--dry-run").stdout.splitlines()
    assert len(listed) == 1  # one is done
    archive.write_bytes(archive.read_bytes()[:100])
    result = invoke("study", "import", archive)
    assert result.exit_code == 1 and "damaged or cut off" in result.stderr


def test_run_makes_weights_that_are_not_here(small_world, trainings):
    experiment = Experiment(task="mrpc", epochs=1, learning_rate=1e-3, evaluations=1)
    source = small_world / "e.json"
    source.write_text(json.dumps(experiment.to_dict()))
    assert invoke("run", source).exit_code == 0
    weights = small_world / "runs" / experiment.digest / "student.safetensors"
    weights.unlink()
    assert invoke("run", source).exit_code == 0 and not weights.exists()
    assert invoke("run", source, "--weights").exit_code == 0 and weights.exists()
    assert trainings == [experiment.digest] * 2


@pytest.mark.parametrize("arguments", [("run", "no.json"), ("pack", "no.json", "there")])
def test_a_file_that_is_missing_is_named_before_any_work(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 1 and "error: no.json is no file: give an experiment" in result.stderr
