import json

from typer.testing import CliRunner
from xtcq_book.__main__ import app


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_lists_problems(tmp_path):
    (tmp_path / "book" / "records").mkdir(parents=True)
    (tmp_path / "book" / "records" / "abc.json").write_text("{}")
    result = invoke("check", tmp_path)
    assert result.exit_code == 1 and "abc.json has schema None" in result.stdout


def test_claims_as_json_and_as_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path))
    result = invoke("claims", "--json")
    claims = json.loads(result.stdout)
    assert result.exit_code == 0 and len(claims) >= 25
    keys = {
        "id",
        "verdict",
        "verdict_best",
        "verdict_last",
        "points",
        "lift",
        "tasks",
        "steps",
        "gated",
        "paper_verdict",
    }
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
