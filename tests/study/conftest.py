import dataclasses
import shutil

import pytest

from xtcq.study import Experiment, Record, run, runs
from xtcq.tasks import task_spec
from xtcq.training.settings import METHOD


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Records and runs of the test go to its own folders."""
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("XTCQ_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.fixture
def small_world(folders, monkeypatch, every_task_is, tiny_bert, word_task, word_tokenizer):
    """Every model is a tiny BERT and every task the word task: real training in a second."""

    def load_encoder(name, num_labels, head="classifier"):
        return tiny_bert(layers=2, num_labels=num_labels), word_tokenizer

    monkeypatch.setattr(runs, "load_encoder", load_encoder)
    every_task_is(word_task)
    return folders


@pytest.fixture
def taught(small_world, request, tmp_path_factory):
    """The small world after the module's `TEACHER` was trained, which is done once for all tests."""
    teacher = request.module.TEACHER
    kept = tmp_path_factory.getbasetemp() / teacher.digest
    if kept.exists():
        shutil.copytree(kept, small_world, dirs_exist_ok=True)
    else:
        run(teacher)
        shutil.copytree(small_world, kept)
    return small_world


@pytest.fixture
def make_record():
    """A factory of Records with given scores; nothing is trained."""

    def build(score: float = 80.0, **fields) -> Record:
        kept = {name: fields.pop(name) for name in ("predictions", "compute", "data", "method") if name in fields}
        experiment = Experiment(**{"task": "mrpc", "epochs": 3, "learning_rate": 1e-4} | fields)
        spec = task_spec(experiment.task)
        metrics = dict.fromkeys(spec.metrics, score)
        place = {"stage": int(experiment.search is not None), "stage_name": "s", "step": 10, "epoch": 1.0}
        point = place | {"train_seconds": 5.0, "wall_seconds": 6.0, "metrics": metrics}
        answer = [""] if spec.head == "questions" else [0.0] if spec.is_regression else "0"
        made = {split: answer * spec.rows[split] for split in spec.evaluation_splits}
        measured = {"predictions": {"best": made, "last": made}, "compute": "fp32", "data": "0" * 16, "method": METHOD}
        return Record(
            experiment=experiment,
            settings=experiment.settings,
            best=metrics,
            last=metrics,
            history=[point],
            size={"parameters": 10, "nominal_mib": 1.0, "packed_mib": 1.0, "embedding_mb": 1.0},
            bitops=0,
            train_seconds=5.0,
            wall_seconds=6.0,
            device="CPU",
            side_by_side=1,
            versions={"python": "3.11"},
            commit=None,
            **measured | kept,
        )

    return build


@pytest.fixture
def make_run(make_record, monkeypatch):
    """A factory of Records whose last evaluation may be another than the best; no labels are at hand."""
    monkeypatch.delenv("XTCQ_DATA", raising=False)

    def build(best: float = 80.0, last: float | None = None, exploration: dict | None = None, **fields) -> Record:
        record = make_record(best, **fields)
        end = record.best if last is None else dict.fromkeys(record.best, last)
        history = [*record.history, record.history[0] | {"step": 20, "metrics": end}]
        return dataclasses.replace(record, last=end, history=history, exploration=exploration)

    return build


@pytest.fixture
def make_study(make_run):
    """A factory of whole studies: students of two plans, their teachers and seeds.

    Call it with the gains of one plan over the other, ``{task: [gain of seed 1, gain of seed 2, ...]}``. A field may be
    a function of the task.
    """

    def build(
        gains, last=None, level=75.0, teacher=85.0, model="minilm-l6", plans=("one-stage", "two-stage"), **fields
    ):
        records = []
        for task, of_seeds in gains.items():
            taught = make_run(teacher, task=task, model=model)
            records.append(taught)
            for seed, gain in enumerate(of_seeds, 1):
                end = gain if last is None else last[task][seed - 1]
                students = {"task": task, "model": model, "seed": seed, "teacher": taught.experiment}
                own = {name: value(task) if callable(value) else value for name, value in fields.items()}
                students |= {"precision": "1-1-8"} | own
                records.append(make_run(level + gain, level + end, stages=plans[0], **students))
                records.append(make_run(level, level, stages=plans[1], **students))
        return records

    return build


@pytest.fixture
def trainings(monkeypatch):
    """The experiments' folders that were really trained, in order."""
    seen, original = [], runs.train

    def counted(student, stages, task, tokenizer, folder, **options):
        seen.append(folder.name)
        return original(student, stages, task, tokenizer, folder, **options)

    monkeypatch.setattr(runs, "train", counted)
    return seen
