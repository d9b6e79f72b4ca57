import pytest

from xtcq.study import Experiment, Record, runs
from xtcq.tasks import QuestionSpec, task_spec
from xtcq.training.settings import METHOD


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Records and runs of the test go to its own folders."""
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("XTCQ_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.fixture
def small_world(folders, monkeypatch, tiny_bert, word_task, word_tokenizer):
    """Every model is a tiny BERT and every task the word task: real training in a second."""

    def load_encoder(name, num_labels, head="classifier"):
        return tiny_bert(layers=2, num_labels=num_labels), word_tokenizer

    monkeypatch.setattr(runs, "load_encoder", load_encoder)
    monkeypatch.setattr(runs, "load_task", lambda name: word_task)
    monkeypatch.setattr(runs, "task_spec", lambda name: word_task.spec)
    return folders


@pytest.fixture
def make_record():
    """A factory of Records with given scores; nothing is trained."""

    def build(score: float = 80.0, **fields) -> Record:
        experiment = Experiment(**{"task": "mrpc", "epochs": 3, "learning_rate": 1e-4} | fields)
        metrics = dict.fromkeys(task_spec(experiment.task).metrics, score)
        # What a search finds counts once its widths are fixed.
        point = {"stage": 0 if experiment.search is None else 1, "stage_name": "s"}
        point |= {"step": 10, "epoch": 1.0, "train_seconds": 5.0, "metrics": metrics}
        return Record(
            experiment=experiment,
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
            settings=experiment.settings,
            method=METHOD,
            predictions=dict.fromkeys(("best", "last"), _predictions(task_spec(experiment.task))),
            compute="fp32",
            data="0" * 16,
        )

    return build


def _predictions(spec):
    """Of a model that answers everything alike."""
    same = [""] if isinstance(spec, QuestionSpec) else [2.5] if spec.is_regression else "0"
    return {split: same * spec.rows[split] for split in spec.evaluation_splits}
