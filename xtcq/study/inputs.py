"""What runs read, looked at before the first of them: data, encoders, and what sentences are added with."""

from __future__ import annotations

from collections.abc import Iterable

from xtcq.encoder import load_encoder, load_masked_lm
from xtcq.study.experiment import Experiment
from xtcq.tasks import load_task
from xtcq.tasks.augmentation.store import MASKED_LM
from xtcq.tasks.augmentation.vectors import load_vectors


def check_inputs(runs: Iterable[Experiment]) -> None:
    """Refuse runs of which any could not be begun, so that none is trained in vain.

    Args:
        runs: what is left to train.

    Raises:
        FileNotFoundError: data, an encoder, or the masked language model or word vectors that sentences are added with
            cannot be found; the message says what to get and where to put it.
        ValueError: what was found is not what its name says.
    """
    runs = list(runs)
    for name in dict.fromkeys(run.model for run in runs):
        load_encoder(name, num_labels=2)
    sources = {run.augmentation for run in runs}
    if "tinybert" in sources:
        load_vectors()
    if sources & {"masked-lm", "tinybert"}:
        load_masked_lm(MASKED_LM)
    for task in dict.fromkeys(run.task for run in runs):
        load_task(task)
