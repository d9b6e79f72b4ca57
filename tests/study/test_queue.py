import errno
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest

from xtcq.adaqat import AdaQATSettings
from xtcq.study import Experiment, full_teachers, gather, load_record, queue, record_path, run, run_all, runs

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2, precision="1-1-8", stages="two-stage", teacher=TEACHER
)


def test_a_grid_trains_what_a_student_starts_from_first(small_world, trainings):
    small = replace(STUDENT, precision="32-32-32", layers=(1,))
    student = replace(STUDENT, layers=(1,), start=small)
    run_all([student])
    assert trainings == [TEACHER.digest, small.digest, student.digest]


def test_a_failed_run_does_not_stop_the_others(small_world, monkeypatch):
    original, failed = runs.train, []

    def failing(student, stages, task, tokenizer, folder, settings, **options):
        if settings.learning_rate > 1:
            failed.append(folder.name)
            raise FloatingPointError("the training loss is nan")
        return original(student, stages, task, tokenizer, folder, settings, **options)

    monkeypatch.setattr(runs, "train", failing)
    bad = Experiment(task="mrpc", epochs=2, learning_rate=2.0, evaluations=2)
    with pytest.raises(
        RuntimeError, match=f"1 of 2 runs failed:\n.*{bad.digest}.*FloatingPointError: the training loss"
    ):
        run_all([bad, TEACHER])
    assert record_path(TEACHER).exists() and not record_path(bad).exists()

    orphan = replace(STUDENT, teacher=bad)
    with pytest.raises(
        RuntimeError, match=f"2 of 3 runs failed:(\n.*)+{orphan.digest}.*: not run, it needs {bad.digest}"
    ):
        run_all([orphan, STUDENT])
    assert record_path(STUDENT).exists()
    failed.clear()
    with pytest.raises(RuntimeError, match="2 of 2 runs failed"):
        run_all([bad, orphan])
    assert failed == [bad.digest]  # asked for and needed, tried once


def test_a_search_that_cannot_end_is_refused_before_its_teacher_is_trained(small_world, trainings):
    settings = {"recipe": "adaqat", "precision": "4-4-4", "adaqat": AdaQATSettings(granularity="layer")}
    for start in (run, lambda experiment: run_all([experiment])):
        with pytest.raises(ValueError, match="steps"):
            start(replace(STUDENT, **settings))
    assert trainings == []


def test_runs_are_side_by_side_and_a_killed_process_costs_one(monkeypatch):
    """In processes of their own, which load nothing: what they do is exchanged, and so is what is run."""

    @dataclass(frozen=True)
    class Run:
        digest: str

    def attempt(run, workers, deadline):
        import os
        import signal

        if run.digest == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return "done", f"{workers} side by side in {os.getpid()}"

    def first(wanted, ends, busy, *_):
        return next((run for run in wanted if run not in ends and run not in busy), None)

    for name, stand_in in {"_attempt": attempt, "_begin": lambda: None, "_next": first}.items():
        monkeypatch.setattr(queue, name, stand_in)
    well, killed = Run("well"), Run("killed")
    ends = queue.work_through(lambda: [well, killed], 2)
    assert (ends[well][0], ends[killed][0]) == ("done", "failed")
    assert "its process was killed" in ends[killed][1] and "(killed)" in ends[killed][1]
    assert ends[well][1].startswith("2 side by side") and str(os.getpid()) not in ends[well][1]


def test_a_run_reaches_the_process_that_trains_it():
    assert pickle.loads(pickle.dumps(STUDENT)) == STUDENT


def test_after_a_full_disk_nothing_more_is_started(small_world, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "train", full)
    ends = queue.work_through(lambda: [TEACHER, replace(TEACHER, seed=7)], 1)
    assert [(e, status) for e, (status, _) in ends.items()] == [(TEACHER, queue.FULL)]


def test_a_run_that_time_is_up_for_is_finished_by_the_next_call(small_world, monkeypatch):
    """Metric by metric, weights included, as if nothing had happened."""
    long = replace(TEACHER, epochs=4, evaluations=3)  # 48 steps, logged at every one
    undisturbed = run(long).history
    weights = (small_world / "runs" / long.digest / "student.safetensors").read_bytes()
    record_path(long).unlink()
    shutil.rmtree(small_world / "runs")
    for _ in range(2):
        asked = iter(range(100))
        monkeypatch.setattr(queue.time, "time", lambda asked=asked: next(asked))
        ends = queue.work_through(lambda: [long], 1, deadline=9)  # the tenth time that it is looked at
        assert ends[long][0] == queue.PAUSED and not record_path(long).exists()
    monkeypatch.setattr(queue.time, "time", time.monotonic)
    assert queue.work_through(lambda: [long], 1)[long][0] == queue.DONE
    clocks = {"train_seconds", "wall_seconds"}

    def timeless(history):
        return [{name: value for name, value in point.items() if name not in clocks} for point in history]

    assert timeless(load_record(record_path(long)).history) == timeless(undisturbed)
    assert (small_world / "runs" / long.digest / "student.safetensors").read_bytes() == weights


def test_what_is_needed_comes_before_what_needs_it(folders):
    student = replace(STUDENT, seed=7)
    taught = replace(STUDENT, start=student)
    assert queue.with_needed([taught, STUDENT]) == [TEACHER, student, taught, STUDENT]


def test_a_run_leaves_environment_and_logging_as_they_were(small_world, monkeypatch, capsys):
    """A notebook goes on in the same process; what the runs say of themselves is printed all the same."""
    log, root = logging.getLogger("xtcq"), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setenv("XTCQ_SIDE_BY_SIDE", "3")
    environment, before = dict(os.environ), (log.level, list(log.handlers), root.level)
    (record,) = run_all([TEACHER])
    assert dict(os.environ) == environment
    assert (log.level, list(log.handlers), root.level) == before and root.handlers == []
    assert f"train: {TEACHER} ({TEACHER.digest})" in capsys.readouterr().out
    assert record.side_by_side == 3  # as whoever started this process said


def test_a_worker_ends_when_its_parent_was_killed():
    """One without work at once; one at work stops at its next checkpoint, which the next test asks for."""
    begin = "import time; from xtcq.study import queue; queue._begin(); print('begun', flush=True)"
    worker = f"{begin}; time.sleep(60); print('late')"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", parent, worker], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.kill()
        assert process.stdout.read() == ""  # until the last process that holds the pipe has ended


def test_a_run_whose_parent_was_killed_is_asked_to_pause(monkeypatch):
    asked, threads = [], []
    monkeypatch.setattr(queue, "make", lambda experiment, pause, side_by_side: asked.append(pause()))
    # A worker's own: set here, they would make every training after this test ten times as long on busy cores.
    monkeypatch.setattr(queue.torch, "set_num_threads", threads.append)
    for parent in (os.getppid(), 1 if os.getppid() != 1 else 2):
        monkeypatch.setattr(queue, "_parent", parent)
        queue._attempt(TEACHER, 1, float("inf"))
    assert asked == [False, True] and threads == [os.cpu_count()] * 2


def test_a_page_is_drawn_from_a_grid_and_its_teachers(small_world, trainings):
    other = replace(STUDENT, seed=7)
    assert gather([STUDENT, other], train=False) == ([], []) and not trainings
    students, teachers = gather([STUDENT, other], train=True)
    assert [r.experiment for r in students] == [STUDENT, other] and [r.experiment for r in teachers] == [TEACHER]
    record_path(other).unlink()
    assert gather([STUDENT, other], train=False) == (students[:1], teachers) and len(trainings) == 3
    record_path(TEACHER).unlink()
    assert gather([STUDENT, other], train=False) == (students[:1], [])


def test_a_chain_of_teachers_ends_in_one(small_world):
    small = replace(STUDENT, precision="32-32-32", stages="one-stage", layers=(1,))
    taught_by_it = replace(STUDENT, teacher=small)
    assert full_teachers([taught_by_it, STUDENT, TEACHER]) == [TEACHER]
