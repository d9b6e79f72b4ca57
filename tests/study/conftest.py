import shutil

import pytest

from xtcq.study import run, runs


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
def trainings(monkeypatch):
    """The experiments' folders that were really trained, in order."""
    seen, original = [], runs.train

    def counted(student, stages, task, tokenizer, folder, **options):
        seen.append(folder.name)
        return original(student, stages, task, tokenizer, folder, **options)

    monkeypatch.setattr(runs, "train", counted)
    return seen
