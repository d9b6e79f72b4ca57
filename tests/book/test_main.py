import json

import pytest
from typer.testing import CliRunner
from xtcq_book.__main__ import app
from xtcq_book.paper_tables import cells, estimate, experiments
from xtcq_book.paper_tables.rows import ASSUMPTIONS

from xtcq.study.queue import with_all_needed


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_lists_problems(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/us/xtcq"\n')
    (tmp_path / "book" / "records").mkdir(parents=True)
    (tmp_path / "book" / "records" / "abc.json").write_text("{}")
    result = invoke("check", tmp_path)
    assert result.exit_code == 1 and "abc.json has schema None" in result.stdout


def test_claims_as_json_and_as_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path))
    result = invoke("claims", "--json")
    claims = json.loads(result.stdout)
    assert result.exit_code == 0 and len(claims) >= 25
    keys = {"verdict", "verdict_best", "verdict_last", "points", "lift", "tasks", "steps", "gated", "paper_verdict"}
    assert all(keys <= set(claim) for claim in claims)
    computed = {"reproduced", "contradicted"}
    assert {claim["verdict"] for claim in claims} - computed == {"not run", "cannot be tested here"}
    assert all(claim["paper_verdict"] == "printed" for claim in claims if claim["verdict"] in computed)
    table = invoke("claims")
    assert table.exit_code == 0 and "skip-beats-top" in table.stdout
    not_run = sum(claim["verdict"] == "not run" for claim in claims)
    assert f", {not_run} not run" in table.stdout.splitlines()[-1]


def test_claims_needs_sound_records(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path))
    (tmp_path / "abc.json").write_text("{}")
    result = invoke("claims")
    assert result.exit_code == 1 and "abc.json has schema None" in result.stderr and "Traceback" not in result.output


def test_a_table_row_by_row(folders):
    result = invoke("table", "xtc-c2", "--rows", "budget-c | two*2e-5", "--task", "mnli", "--task", "rte")
    (run,) = experiments(cells("xtc-c2", "budget-c | two*2e-5", ["rte"]))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and lines[0] == "Budget-C | Two-Stage | 2e-5"
    assert lines[1].startswith("  MNLI-m Acc, MNLI-mm Acc: ") and lines[2] == f"  RTE Acc: {run.digest} {run}"
    assert lines[3] == f"assumed: {ASSUMPTIONS['budgets']}"
    whole = invoke("table", "xtc-c8", "--rows", "tiny*32").stdout
    assert "not run, quoted from TernaryBERT's paper" in whole and "computed, the mean of" not in whole


def test_what_a_table_takes_and_what_it_would_train(folders):
    rows = ("xtc-fig6", "--rows", "one-stage")
    runs = with_all_needed(experiments(cells("xtc-fig6", "one-stage")))
    took = estimate.estimate(runs)
    bill = invoke("table", *rows, "--estimate", "--card", "H100", "--shares", 0.5, 1).stdout
    assert f"2 runs with the teachers and starts that they need, {took.steps:,} optimizer steps" in bill
    assert f"{took.hours('H100', (0.5, 1.0)):,.1f} GPU-hours: operations over rates, 50% of 989 TFLOP/s" in bill
    listed = invoke("table", *rows, "--dry-run").stdout.splitlines()
    assert [line.split()[0] for line in listed[:2]] == [run.digest for run in runs]
    assert listed[2] == f"2 runs, {took.steps:,} steps"


def test_a_table_is_run_without_the_rows_that_cannot_be(folders, monkeypatch):
    asked = []
    monkeypatch.setattr("xtcq.study.run_all", lambda runs, jobs: asked.append((list(runs), jobs)) or list(runs))
    result = invoke("table", "adaqat-t3", "--run", "--jobs", 2)
    assert asked == [(experiments(cells("adaqat-t3")), 2)] and "16 runs have Records" in result.stdout
    assert "not run: BinaryBERT | 1-1-4: quoted by" in result.stdout and "not run: TernaryBERT" not in result.stdout


def test_all_tables_in_brief():
    lines = invoke("table").stdout.splitlines()
    assert lines[1].split() == ["xtc-c2", "504", "324", "180", "0", "216"] and lines[-1].split()[0] == "all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xtc-c2", "--rows", "budget-d"), "no row of xtc-c2 matches 'budget-d'"),
        (("adaqat-t3", "--rows", "Q-BERT", "--run"), "there is nothing to run: Q-BERT | 2-8-8: quoted by AdaQAT-BERT"),
        (("adaqat-t6", "--dry-run"), "there is nothing to run: these cells follow from no runs"),
        (("xtc-c2", "--run", "--estimate"), "--estimate, --dry-run and --run exclude one another"),
        (("--run",), "name the table"),
        (("xtc-c6", "--estimate", "--card", "P100"), "card 'P100' is unknown"),
    ],
)
def test_a_table_that_cannot_be_had(folders, arguments, message):
    result = invoke("table", *arguments)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
