from contextlib import contextmanager

import pytest

from xtcq.training import DistillationTrainer, TrainSettings, train
from xtcq.training import plan as training


@pytest.fixture
def fit(tiny_bert, word_task, word_tokenizer, tmp_path):
    """Train a tiny student in a folder of the test, 12 steps an epoch."""

    def run(stages, student=None, folder="run", task=word_task, **changes):
        student = tiny_bert() if student is None else student
        given = {name: changes.pop(name) for name in ("teacher", "layer_map", "pause") if name in changes}
        options = {"learning_rate": 1e-3, "batch_size": 8, "seed": 3, "evaluations": 4}
        settings = TrainSettings(**options | changes)
        return student, train(student, stages, task, word_tokenizer, tmp_path / folder, settings, **given)

    return run


@pytest.fixture
def interrupted():
    """Stop what is trained inside with Ctrl-C: before a step of its stage, or, without one, after the last."""

    @contextmanager
    def inside(step=None):
        original = DistillationTrainer.training_step

        def steps(trainer, *args):
            if trainer.state.global_step == step:
                raise KeyboardInterrupt
            return original(trainer, *args)

        def ends(*args):
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(DistillationTrainer, "training_step", steps)
            if step is None:
                patch.setattr(training, "finish_stage", ends)
            yield

    return inside
