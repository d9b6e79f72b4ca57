"""Training what stands behind a table, after a look at everything that the runs will read."""

from __future__ import annotations

from collections.abc import Sequence

from xtcq.encoder import load_encoder, load_masked_lm
from xtcq.study import Experiment, Record, run_all
from xtcq.study.queue import with_needed
from xtcq.tasks import load_task
from xtcq.tasks.augmentation.store import MASKED_LM
from xtcq.tasks.augmentation.vectors import load_vectors


def run_checked(runs: Sequence[Experiment], jobs: int = 1) -> list[Record]:
    """Run experiments as ``xtcq.study.run_all`` does, but none of them if a task or an encoder of any is missing.

    Args:
        runs: which ones.
        jobs: processes side by side on one device.

    Raises:
        FileNotFoundError: data, an encoder, or the masked language model or word vectors that sentences are added with
            cannot be found; the message says what to get and where to put it.
        ValueError: what was found is not what its name says, besides what ``run_all`` raises.
        RuntimeError: some runs failed.
    """
    left = with_needed(runs)
    for name in dict.fromkeys(run.model for run in left):
        load_encoder(name, num_labels=2)
    sources = {run.augmentation for run in left}
    if "tinybert" in sources:
        load_vectors()
    if sources & {"masked-lm", "tinybert"}:
        load_masked_lm(MASKED_LM)
    for task in dict.fromkeys(run.task for run in left):
        load_task(task)
    return run_all(runs, jobs)
