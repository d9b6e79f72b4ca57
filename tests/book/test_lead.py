import dataclasses

import pytest
from typer.testing import CliRunner
from xtcq_book import lead, readme
from xtcq_book.__main__ import app
from xtcq_book.arithmetic import table
from xtcq_book.gates import check_book

from xtcq.study import load_profile
from xtcq.study.records import save_record

SCALE = load_profile("mini")


@pytest.fixture
def save(tmp_path, monkeypatch, make_record):
    """Store the Record of an experiment with a score of its task's first metric."""
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path))

    def store(experiment, score, mib=4.2, **fields):
        record = make_record(score, **experiment.to_dict())
        save_record(dataclasses.replace(record, size=record.size | {"packed_mib": mib}, **fields))

    return store


def test_a_recipe_loses_the_mean_over_tasks_of_the_mean_over_seeds_at_the_best_rate(save):
    for task in ("mrpc", "sst2"):
        save(SCALE.teacher(task), 80.0)
    for task, rate, seed, score in (
        ("mrpc", 1e-4, 42, 79.0),
        ("mrpc", 2e-4, 42, 78.0),
        ("mrpc", 1e-4, 111, 75.0),
        ("sst2", 2e-4, 42, 70.0),
    ):
        save(SCALE.student(task, precision="1-1-8", learning_rate=rate, seed=seed), score)
    runs = lead.students()
    assert sorted(runs["minus teacher"]) == [-10, -5, -1]
    (found,) = lead.recipes(runs).to_dict("records")
    assert found["minus teacher"] == pytest.approx((-3 - 10) / 2)
    assert (found["seeds"], found["bits"]) == ("1 to 2", 1)
    save(SCALE.teacher("stsb"), 80.0)
    save(SCALE.student("stsb", precision="2-2-8"), 50.0)
    assert list(lead.recipes(lead.students())["minus teacher"].dropna()) == [pytest.approx(-6.5)]  # not on these tasks
    assert "mean over SST-2, MRPC; recipes" in lead.page(lead.students())
    assert "1 to 2 seeds a task" in lead.scale_of(runs)


def test_only_quantized_students_of_real_tasks_with_a_teacher_are_drawn(save):
    save(SCALE.teacher("mrpc"), 80.0)
    save(SCALE.student("mrpc", precision="32-32-32", layers=(0, 2, 4)), 79.0)
    save(SCALE.student("sst2", precision="1-1-8"), 79.0)  # its teacher has no Record
    demo = load_profile("demo")
    save(demo.student(demo.tasks[0], precision="1-1-8"), 79.0)
    assert lead.students().empty
    assert "no student has a Record" in lead.page(lead.students())


def test_a_student_whose_widths_were_learned_has_not_those_that_its_search_began_with(save):
    save(SCALE.teacher("cola"), 30.0)
    save(SCALE.student("cola", recipe="adaqat", precision="4-4-4"), 24.0)
    for seed, width in ((42, 3.0), (111, 2.2)):
        found = {"mean_weights": width, "mean_activations": 5.0, "average": 15.0}
        save(SCALE.learned("cola", granularity="network", budget="short", seed=seed), 25.0, exploration=found)
    runs = lead.students().set_index("W-E-A")
    assert list(runs.loc["learned from 4-4-4", "bits"]) == [3, 3] and runs.loc["4-4-4", "bits"] == 4
    assert set(runs["planned steps"]) == {1000} and set(runs["steps"]) == {10}
    assert sorted(lead.recipes(lead.students())["seeds"]) == ["1", "2"]


def test_every_dot_leads_to_its_record(save):
    student = SCALE.student("mrpc", precision="2-2-8")
    save(SCALE.teacher("mrpc"), 80.0)
    save(student, 79.0, mib=5.8)
    page = lead.page(lead.students())
    assert f"book/records/{student.digest}.json" in page and "5.80 MiB" in page


def test_the_papers_students_stand_at_printed_and_packed_size():
    found = lead.papers().set_index(["paper", "layers", "bits"])
    small = found.loc["XTC", 6, 1]
    assert small["minus teacher"] == pytest.approx(81.71 - 83.95)
    assert small["printed"] == table("xtc-c8").value("XTC-BERT6 | 1", "Size MB")
    assert small["file"] > 1.4 * small["printed"]
    assert found.loc["XTC", 12, 2]["minus teacher"] == pytest.approx(84.00 - 83.95)
    assert len(found) == 9 and found["file"].isna().sum() == 1


def test_a_readme_without_a_place_for_results_is_refused():
    with pytest.raises(ValueError, match="put them around"):
        readme.renewed("# xtcq\n")


def test_the_command_writes_what_the_gate_asks_for(save, tmp_path):
    save(SCALE.teacher("mrpc"), 80.0)
    save(SCALE.student("mrpc", precision="1-1-8"), 79.0)
    root = tmp_path / "checkout"
    (root / lead.FOLDER).mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/us/xtcq"\n')
    (root / "README.md").write_text("# xtcq\n\n<!-- results: x -->\nold\n<!-- end -->\n\nMore.\n")

    files = [f"{lead.FOLDER}/{name}" for name in ("lead.html", "light.svg", "dark.svg")] + ["README.md"]
    result = CliRunner().invoke(app, ["lead", str(root)])
    assert result.exit_code == 0 and "1 students" in result.output, result.output
    text = (root / "README.md").read_text()
    assert "-1.0 at 1-1-8 with all 6 layers, 4.2 MiB" in text and "old" not in text and text.endswith("\nMore.\n")
    assert check_book(root) == []
    save(SCALE.student("mrpc", precision="1-1-8", seed=111), 77.0)
    assert [problem.partition(":")[0] for problem in check_book(root)] == files
