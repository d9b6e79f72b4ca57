import json
import os
import re
import shutil
from pathlib import Path

import plan
import pytest
import train
from filelock import FileLock

from tests.workflow import forked
from xtcq.study import Experiment
from xtcq.study.records import save_record
from xtcq.study.study import read_study, run_study
from xtcq.tasks.sources import GLUE_SPECS

ROOT = Path(__file__).parents[2]
STUDY = "workflow/demo.json"
GRID = {"profile": "demo", "precisions": ["2-2-8"], "plans": ["one-stage", "two-stage"]}

# Says what it was asked for, and leaves what a run leaves.
STUB = """
import sys
from pathlib import Path
digest, record, weights = sys.argv[2], Path(sys.argv[-1]), Path(sys.argv[sys.argv.index("--weights") + 1])
for path in (record, weights):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.exists() or path.write_text(digest)
with open("trained", "a") as file:
    print(digest, file=file)
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout with one notebook, and a study of a teacher and two students."""
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("notebooks", "book/published", "book/records"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/kd-stages.ipynb", tmp_path / "notebooks")
    (tmp_path / STUDY).write_text(json.dumps([{"notebook": "kd-stages", "parameters": GRID}]))
    (tmp_path / "workflow/train.py").write_text(STUB)
    for name in ("XTCQ_RECORDS", "XTCQ_RUNS", "XTCQ_DATA", "XTCQ_COMPUTE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def left(refused=None, **config):
    """What the study lacks; snakemake gets the same without loading torch, and refuses it with a message, if any."""
    plan.write_plan(config or {"study": STUDY}, Path("plan.json"))
    Path("workflow/plan.py").write_text(
        "import shutil\ndef write_plan(config, target):\n    target.parent.mkdir(exist_ok=True)\n"
        "    shutil.copy('plan.json', target)\n"
        f"def check_plan(path):\n    if {refused!r}:\n        raise FileNotFoundError({refused!r})\n"
    )
    return json.loads(Path("plan.json").read_text())["plan"]["left"]


def snakemake(*arguments, check=True, config=(f"study={STUDY}",)):
    ran = forked.snakemake("study", "--config", *config, *arguments, folder=Path.cwd())
    assert not check or ran.returncode == 0, ran.stderr
    return ran


def jobs_of(*arguments, **options):
    """What a study would train, by digest and in snakemake's order."""
    shown = snakemake("--dry-run", *arguments, **options).stdout
    jobs = [job for job in re.split(r"\n(?=rule )", shown.split("Job stats", 2)[1]) if job.startswith("rule train:")]
    return {re.search(r"digest=(\w+)", job)[1]: job for job in jobs}


def test_the_plan_is_what_the_study_lacks_in_its_order(repository):
    teacher, *students = left()
    assert [teacher, *students] == [experiment.digest for experiment in read_study(Path(STUDY)).left()]
    assert len(students) == 2
    for digest, run in left().items():
        assert run["needs"] == ([] if digest == teacher else [teacher]) and not run["recorded"]
        assert Experiment.from_dict(run["experiment"]).digest == digest

    Path("runs/records").mkdir(parents=True)
    Path(f"runs/records/{teacher}.json").write_text("a Record")
    assert {digest: run["recorded"] for digest, run in left().items()} == {
        teacher: True,
        students[0]: False,
        students[1]: False,
    }
    Path(f"runs/{teacher}").mkdir(parents=True)
    Path(f"runs/{teacher}/student.safetensors").write_text("weights")
    assert list(left()) == students
    Path(f"runs/records/{teacher}.json").unlink()
    assert list(left()) == [teacher, *students], "weights without a Record are of no use"


@pytest.mark.parametrize(
    ("profile", "plugin", "said"),
    [
        ("slurm", "snakemake_executor_plugin_slurm", ["runtime=1440", "threads: 8"]),
        ("kubernetes", "snakemake_executor_plugin_kubernetes", ["gpu_manufacturer=nvidia", "threads: 8"]),
        ("gpus", "snakemake", ["tmpdir="]),
    ],
)
def test_a_job_with_a_gpu_for_every_run(repository, profile, plugin, said):
    pytest.importorskip(plugin, reason="pip install -e '.[cluster,kubernetes]'")
    teacher, *students = left()
    found = jobs_of("--workflow-profile", f"workflow/profiles/{profile}")
    priorities = {digest: int(re.search(r"priority: (\d+)", job)[1]) for digest, job in found.items()}
    assert sorted(priorities, key=priorities.get, reverse=True) == [teacher, *students]
    assert next(iter(found)) == teacher, "snakemake lists what others need before them"
    for digest, job in found.items():
        assert "gpu=1" in job and all(words in job for words in said)
        assert (f"runs/{teacher}/student.safetensors" in job.split("output:")[0]) == (digest != teacher)


def test_what_has_its_record_is_not_made_again(repository, make_record):
    teacher, *students = left()
    for digest in (teacher, students[0]):
        fields = json.loads(Path("plan.json").read_text())["plan"]["left"][digest]["experiment"]
        save_record(make_record(**fields))
    before = {path: path.read_bytes() for path in Path("runs/records").iterdir()}
    assert [path.stem for path in before] in ([teacher, students[0]], [students[0], teacher])

    # A fresh clone: Records without weights or any memory of how they were made, and a student that needs its teacher.
    assert list(left()) == [teacher, students[1]]
    snakemake()
    assert Path("trained").read_text().split() == [teacher, students[1]]
    assert {path: path.read_bytes() for path in before} == before

    # The Records are older than the weights, and the workflow is another one; with weights there is nothing to train.
    Path("runs/records", f"{students[1]}.json").unlink()
    Path("workflow/study.smk").write_text(Path("workflow/study.smk").read_text().replace("--processes", "--other"))
    assert list(left()) == [students[1]]
    snakemake()
    assert Path("trained").read_text().split() == [teacher, students[1], students[1]]


def test_a_study_of_real_and_generated_tasks(repository):
    mixed = [{"notebook": "kd-stages", "parameters": GRID | {"profile": name}} for name in ("demo", "mini")]
    Path(STUDY).write_text(json.dumps(mixed))
    with pytest.raises(ValueError, match="a study of their own"):
        left()


def test_data_that_are_missing_are_missed_before_the_first_job(repository, monkeypatch):
    Path(STUDY).write_text(json.dumps([{"notebook": "kd-stages", "parameters": GRID | {"profile": "mini"}}]))
    for task in GLUE_SPECS:
        Path("data/glue", task).mkdir(parents=True)
    monkeypatch.setenv("XTCQ_DATA", "data")
    with pytest.raises(FileNotFoundError, match="train.parquet is missing: task") as refused:
        run_study(read_study(Path(STUDY)), jobs=1)
    left(refused=str(refused.value))
    with pytest.raises(FileNotFoundError, match=re.escape(str(refused.value))):
        plan.check_plan(Path("plan.json"))
    ran = snakemake(check=False)
    assert ran.returncode != 0 and str(refused.value) in ran.stderr
    assert not Path("trained").exists()


def test_two_studies_in_one_folder(repository):
    left()
    Path("runs").mkdir()
    with FileLock("runs/study.lock"):
        ran = snakemake(check=False)
    assert ran.returncode != 0 and "another study works in runs" in ran.stderr
    assert not Path("trained").exists()


def test_a_study_that_is_not_named(repository):
    ran = snakemake(check=False, config=["profile=demo"])
    assert ran.returncode != 0 and "snakemake study --config study=workflow/study.json" in ran.stderr


def test_eight_cards_do_eight_rows_of_a_table(repository):
    """Table C.13 on RTE: two students in full precision, and eight quantized ones that begin with them."""
    table = {"table": "xtc-c13", "task": "rte"}
    runs = left(**table)
    config = [f"{name}={value}" for name, value in table.items()]
    jobs = jobs_of("--workflow-profile", "workflow/profiles/gpus", config=config)
    assert set(jobs) == set(runs) and all("gpu=1" in job for job in jobs.values())
    experiments = {digest: Experiment.from_dict(run["experiment"]) for digest, run in runs.items()}
    rows = {digest for digest, experiment in experiments.items() if experiment.quantized}
    assert len(rows) == 8 and len(runs) == 8 + 2 + 1
    assert all(set(runs[digest]["needs"]).isdisjoint(rows) for digest in rows), "none waits for another"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"table": "xtc-c13", "rows": "six"}, "no row of xtc-c13 matches 'six': its rows are Five"),
        ({"table": "xtc-c13", "task": "squad1"}, "these rows of xtc-c13 have no task squad1"),
        ({"table": "adaqat-t2", "rows": "q-bert"}, "there is nothing to run: quoted by AdaQAT-BERT: no public code"),
        ({"table": "xtc-c13", "study": STUDY}, "both a study and a table are given"),
    ],
)
def test_tables_that_cannot_be_run(repository, config, message):
    with pytest.raises(ValueError, match=message):
        plan.write_plan(config, Path("plan.json"))
    assert not Path("plan.json").exists()


def test_a_job_trains_where_snakemake_wants_its_files(repository, monkeypatch):
    teacher, *_ = left()
    asked = []

    def make(experiment, shared):
        asked.append((experiment.digest, shared, dict(os.environ)))

    monkeypatch.setattr("xtcq.study.runs.make", make)
    paths = {"record": Path(f"copies/records/{teacher}.json"), "weights": Path(f"copies/runs/{teacher}/s.safetensors")}
    monkeypatch.setattr(os, "environ", dict(os.environ))
    train.main(Path("plan.json"), teacher, **paths, locks=Path("locks"), processes=2)
    ((digest, shared, environment),) = asked
    assert (digest, shared) == (teacher, 2)
    assert (environment["XTCQ_RECORDS"], environment["XTCQ_RUNS"]) == ("copies/records", "copies/runs")

    text = Path("plan.json").read_text()
    Path("plan.json").write_text(text.replace('"seed": 42', '"seed": 43'))
    with pytest.raises(SystemExit, match=f"the plan has {teacher} where this machine's xtcq has"):
        train.main(Path("plan.json"), teacher, **paths, locks=Path("locks"), processes=2)
