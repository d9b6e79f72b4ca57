import json
import shutil
from dataclasses import replace
from itertools import product

import psutil
import pytest
from filelock import FileLock

from xtcq.study import Experiment, RecordError, load_record, notebook_grid, record_path, study
from xtcq.study.records import save_record

TEACHER = Experiment(task="mrpc", epochs=1, learning_rate=1e-3, evaluations=1)
GRID = [replace(TEACHER, learning_rate=rate, seed=seed) for rate in (1e-3, 2e-3, 3e-3) for seed in (1, 2)]


CELL = "from xtcq.study import load_profile\ngrid = [load_profile(profile).teacher(task, seed=seed) for task in tasks]"


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook whose grid are teachers, or with another grid cell, and return its file."""

    def write(grid=CELL):
        parameters = 'profile: str = "mini"\ntasks: list[str] = ["mrpc"]\nseed: int = 42'
        cells = [{"cell_type": "markdown", "source": ["# title"], "metadata": {}}]
        for tags, source in ((["parameters"], parameters), (["grid"] * bool(grid), grid), ([], "1 / 0  # not run")):
            lines = source.splitlines(keepends=True)
            cells.append({"cell_type": "code", "source": lines, "metadata": {"tags": tags}})
        path = tmp_path / "notebooks" / "one.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": cells}))
        return path

    return write


@pytest.fixture
def write_study(tmp_path, notebook):
    """Write a study of that notebook, and return its file."""

    def write(entries):
        notebook()
        path = tmp_path / "workflow" / "study.json"
        path.parent.mkdir()
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return path

    return write


def test_a_file_names_notebooks_and_their_parameters(write_study, folders):
    path = write_study([{"notebook": "one", "parameters": {"tasks": ["rte"], "seed": seed}} for seed in (1, 2)])
    assert [(experiment.task, experiment.seed) for experiment in study.read_study(path).left()] == [
        ("rte", 1),
        ("rte", 2),
    ]
    assert study.read_study(path, ["one"]).left() == study.read_study(path).left()


@pytest.mark.parametrize(
    ("entries", "only", "message"),
    [
        ("{", (), "is no study"),
        ([{"notebook": "one"}], (), "is no study .*parameters"),
        ([["one", {}]], (), "is no study"),
        ([{"notebook": "one", "parameters": {"rates": []}}], (), "has no parameter rates"),
        ([{"notebook": "one", "parameters": {}}], ("two",), "has no notebook two: it has one"),
    ],
)
def test_a_file_that_is_no_study(write_study, entries, only, message):
    with pytest.raises(ValueError, match=message):
        study.read_study(write_study(entries), only)


def test_everything_is_trained_and_said_line_by_line(small_world):
    lines = []
    chosen = study.Study([GRID])
    counts = study.run_study(chosen, jobs=1, say=lines.append)
    assert counts == {"done": 6, "paused": 0, "failed": 0, "no space": 0, "left": 0}
    assert len(lines) == 6 and lines[0].endswith("left 5 runs, 60 steps") and lines[5].endswith("left 0 runs, 0 steps")
    scores = {e: load_record(record_path(e)).best["accuracy"] for e in GRID}
    seeds = [experiment.seed for experiment in GRID for line in lines[:3] if experiment.digest in line]
    assert seeds == [1, 1, 1]  # one seed of every rate, then the best rate's other seed
    best = max(GRID[::2], key=scores.__getitem__)
    assert replace(best, seed=2).digest in lines[3]


def test_a_teacher_that_is_only_a_record_is_trained_again_before_its_students(small_world):
    """So it is in a fresh clone, or after an import: weights are not published."""
    student = replace(TEACHER, stages="one-stage", precision="2-2-8", teacher=TEACHER)
    study.run_study(study.Study([[TEACHER]]), jobs=1)
    before = record_path(TEACHER).read_bytes()
    shutil.rmtree(small_world / "runs")
    counts = study.run_study(study.Study([[student]]), jobs=1)
    assert (counts["done"], counts["left"]) == (2, 0)
    assert load_record(record_path(student)).experiment == student
    assert record_path(TEACHER).read_bytes() == before


def test_a_rate_that_diverges_does_not_keep_the_seeds_waiting(folders):
    chosen = study.Study([GRID])
    chosen._scores = dict.fromkeys(GRID[:4:2], 80.0)
    chosen.give_up(GRID[4])
    assert chosen.by_value()[3] == GRID[1]


def test_a_run_that_another_process_trains_is_not_waited_for_beyond_the_deadline(small_world):
    (small_world / "runs").mkdir()
    with FileLock(small_world / "runs" / f"{TEACHER.digest}.lock"):
        counts = study.run_study(study.Study([[TEACHER]]), jobs=1, minutes=0.01)
    assert (counts["paused"], counts["left"]) == (1, 1)


def test_records_of_before_count(small_world):
    study.run_study(study.Study([GRID[:2]]), jobs=1)
    assert study.Study([GRID]).left() == [GRID[2], GRID[4], GRID[3], GRID[5]]


def test_a_failed_run_is_left_out_and_said(small_world, monkeypatch):
    bad = replace(TEACHER, learning_rate=1e9)
    lines = []
    counts = study.run_study(study.Study([[bad, TEACHER]]), jobs=1, say=lines.append)
    assert (counts["done"], counts["failed"], counts["left"]) == (1, 1, 1)
    assert sum("failed" in line and bad.digest in line for line in lines) == 1


def test_a_run_that_cannot_be_finished_in_time_is_not_begun(small_world, monkeypatch):
    """The first one takes as long as it takes; after it there is time for a short one and not for a long one."""
    long = replace(TEACHER, epochs=1e6, learning_rate=5e-4)
    lines = []
    counts = study.run_study(study.Study([[TEACHER], [long], [GRID[3]]]), jobs=1, minutes=2, say=lines.append)
    assert counts["done"] == 2 and counts["left"] == 1 and long.digest not in "".join(lines)


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_a_deadline_lies_ahead(folders, minutes):
    with pytest.raises(ValueError, match="give a positive number"):
        study.run_study(study.Study([]), minutes=minutes)


def test_two_studies_in_one_folder(folders):
    (folders / "runs").mkdir()
    with FileLock(folders / "runs" / "study.lock"), pytest.raises(RuntimeError, match="another study works in .*runs"):
        study.run_study(study.Study([GRID]))


def test_a_damaged_record_is_named_before_anything_is_trained(folders):
    record_path(TEACHER).parent.mkdir()
    record_path(TEACHER).write_text("{")
    with pytest.raises(RecordError, match=TEACHER.digest):
        study.Study([[TEACHER]])


def test_its_records_are_those_of_teachers_too(folders, make_record):
    student = replace(TEACHER, stages="one-stage", precision="2-2-8", teacher=TEACHER)
    for experiment in (TEACHER, student):
        fields = {name: getattr(experiment, name) for name in ("epochs", "learning_rate", "evaluations")}
        save_record(make_record(**fields | {"stages": experiment.stages, "precision": experiment.precision}
                                | ({"teacher": TEACHER} if experiment is student else {})))  # fmt: skip
    assert [record.experiment for record in study.Study([[student]]).records()] == [TEACHER, student]


@pytest.mark.parametrize(
    ("percents", "running", "jobs"), [([0, 0], 0, 2), ([100, 0], 0, 1), ([100, 100], 0, 1), ([100, 20], 1, 2)]
)
def test_jobs_are_what_idle_cores_allow(monkeypatch, percents, running, jobs):
    monkeypatch.setattr(study.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(psutil, "cpu_count", lambda **kwargs: 2)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: percents)
    assert study.idle_jobs(running) == jobs


SST2 = Experiment(task="sst2", epochs=1, learning_rate=1e-4)
RATES = [1e-5, 1e-4, 2e-4, 5e-4, 1e-3]


def student(rate, seed=42, stages="one-stage", precision="2-2-8"):
    return replace(SST2, learning_rate=rate, seed=seed, stages=stages, precision=precision, teacher=SST2)


SWEEP = [student(rate, seed) for rate, seed in product(RATES, (42, 1, 2))]


def order(scores, grids=(SWEEP,)):
    """Learning rates and seeds of the experiments that are not scored, in order."""
    found = study.by_value(grids, lambda e: scores.get((e.learning_rate, e.seed)))
    return [(e.learning_rate, e.seed) for e in found if (e.learning_rate, e.seed) not in scores]


def test_every_run_comes_once():
    found = study.by_value([SWEEP, SWEEP[:4]], lambda e: None)
    assert sorted(map(str, found)) == sorted(map(str, SWEEP))


def test_the_middle_of_a_sweep_comes_first():
    assert order({})[:3] == [(1e-4, 42), (2e-4, 42), (5e-4, 42)]


def test_seeds_follow_at_the_best_rate_then_beside_it():
    done = {(1e-4, 42): 80.0, (2e-4, 42): 90.0, (5e-4, 42): 85.0}
    assert order(done)[:6] == [(2e-4, 1), (2e-4, 2), (1e-4, 1), (1e-4, 2), (5e-4, 1), (5e-4, 2)]
    assert set(order(done)[6:]) == {(r, s) for r, s in product((1e-5, 1e-3), (42, 1, 2))}


@pytest.mark.parametrize(("scores", "further"), [((90.0, 85.0, 80.0), 1e-5), ((80.0, 85.0, 90.0), 1e-3)])
def test_a_sweep_goes_on_while_its_best_is_at_the_edge(scores, further):
    done = {(rate, 42): score for rate, score in zip(RATES[1:4], scores, strict=True)}
    assert order(done)[0] == (further, 42)
    edge = RATES[1] if further == 1e-5 else RATES[3]
    assert order(done | {(further, 42): 70.0})[:2] == [(edge, 1), (edge, 2)]
    assert order(done | {(further, 42): 99.0})[:2] == [(further, 1), (further, 2)]  # at the end of the grid


def test_a_grid_is_decided_before_the_next_one_begins_and_polished_after_all():
    other = [student(rate, seed, "two-stage") for rate, seed in product(RATES[1:4], (42, 1))]
    scores = {e: 90.0 if e.learning_rate == 2e-4 else 80.0 for e in SWEEP if e.seed == 42}
    found = [e for e in study.by_value([SWEEP, other], scores.get) if e not in scores]
    places = [(e.stages, e.learning_rate, e.seed) for e in found]
    assert places[:2] == [("one-stage", 2e-4, 1), ("one-stage", 2e-4, 2)]
    assert {place[0] for place in places[2:5]} == {"two-stage"}
    assert places[5][0] == "one-stage"


def test_grid_of_the_notebooks_own_parameters(notebook):
    assert [experiment.task for experiment in notebook_grid(notebook(), {})] == ["mrpc"]


def test_given_parameters_replace_them(notebook):
    grid = notebook_grid(notebook(), {"tasks": ["rte", "cola"], "profile": "paper"})
    assert [(e.task, e.model) for e in grid] == [("rte", "bert-base-uncased"), ("cola", "bert-base-uncased")]


@pytest.mark.parametrize(
    ("given", "grid", "message"),
    [
        ({"task": "rte"}, CELL, "has no parameter task: it has profile, seed, tasks"),
        ({"profile": "huge"}, CELL, "profile 'huge' is unknown: use one of demo, mini, paper"),
        ({}, "", "no cells tagged 'parameters' and 'grid'"),
    ],
)
def test_what_has_no_grid(notebook, given, grid, message):
    with pytest.raises(ValueError, match=message):
        notebook_grid(notebook(grid), given)
