"""What a page is drawn from: the Records of its grid and of the teachers behind it."""

from __future__ import annotations

from collections.abc import Iterable

from xtcq.study.experiment import Experiment
from xtcq.study.queue import run_all
from xtcq.study.records import Record, load_record, old_records, record_path


def stored(experiments: Iterable[Experiment]) -> list[Record]:
    """Return the Records that exist; nothing is trained.

    Args:
        experiments: the grid.

    Returns:
        Records in the order of the experiments, those without one left out. Where there is only one of schema 1 it is
        that: whoever shows it says so.

    Raises:
        RecordError: if a stored Record cannot be used.
    """
    found = (load_record(path) if (path := record_path(e)).exists() else old_records().get(e) for e in experiments)
    return [record for record in found if record is not None]


def gather(experiments: Iterable[Experiment], train: bool, jobs: int = 1) -> tuple[list[Record], list[Record]]:
    """What a page is drawn from: the Records of its grid, and those of the teachers that students are measured against.

    Args:
        experiments: the grid.
        train: train what has no Record, teachers included. Otherwise nothing is trained, and what is not there is left
            out.
        jobs: as for `run_all`.

    Returns:
        Records of the grid in its order, and of `full_teachers`.

    Raises:
        RecordError: if a stored Record cannot be used.
        RuntimeError: as for `run_all`.
    """
    grid = list(experiments)
    teachers = full_teachers(grid)
    if not train:
        return stored(grid), stored(teachers)
    found = run_all([*grid, *teachers], jobs)
    return found[: len(grid)], found[len(grid) :]


def full_teachers(experiments: Iterable[Experiment]) -> list[Experiment]:
    """The experiments that fine-tune the full-precision models at the end of each chain of teachers, once each."""
    found = []
    for experiment in experiments:
        while experiment.teacher is not None:
            experiment = experiment.teacher
            if experiment.teacher is None:
                found.append(experiment)
    return list(dict.fromkeys(found))
