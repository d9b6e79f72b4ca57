from contextlib import contextmanager

import pytest

from xtcq.training import DistillationTrainer
from xtcq.training import plan as training


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
