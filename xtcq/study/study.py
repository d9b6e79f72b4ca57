"""The study: all runs of the book's notebooks that have no Record yet, the most valuable first, until time is up."""

from __future__ import annotations

import json
import logging
import math
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from filelock import FileLock, Timeout

from xtcq.files import find_checkout
from xtcq.study import regime
from xtcq.study.experiment import Experiment
from xtcq.study.grid import notebook_grid
from xtcq.study.queue import DONE, FAILED, FULL, PAUSED, needs, with_needed, work_through
from xtcq.study.records import Record, load_record, record_path, runs_folder
from xtcq.study.runs import untrained
from xtcq.study.speed import measure_step
from xtcq.study.value import by_value
from xtcq.tasks import task_spec

logger = logging.getLogger(__name__)

# A run keeps its last and its best checkpoint, each with two moments a weight, and the weights of every stage.
_COPIES_OF_WEIGHTS = 12
_BUSY = 0.7  # share of a core that other programs may use before it counts as taken


class Study:
    """Grids of experiments, and what of them is left.

    Args:
        grids: the most important first.

    Raises:
        ValueError: an experiment learns bit-widths in too few steps.
        RecordError: a stored Record cannot be used.
    """

    def __init__(self, grids: Sequence[Sequence[Experiment]]) -> None:
        self._grids = grids
        self._scores: dict[Experiment, float] = {}
        for experiment in dict.fromkeys(experiment for grid in grids for experiment in grid):
            regime.check(experiment)
            if record_path(experiment).exists():
                self.take(load_record(record_path(experiment)))

    def take(self, record: Record) -> None:
        """Learn of a finished run: the best rates decide what comes next."""
        self._scores[record.experiment] = record.best[task_spec(record.experiment.task).primary_metric]

    def records(self) -> list[Record]:
        """Its Records, and those of the runs that they need."""
        grids = [experiment for grid in self._grids for experiment in grid]
        known = dict.fromkeys(other for experiment in grids for other in (*_chain(experiment), experiment))
        return [load_record(record_path(experiment)) for experiment in known if record_path(experiment).exists()]

    def by_value(self) -> list[Experiment]:
        """All experiments, the most valuable first."""
        return by_value(self._grids, self._scores.get)

    def left(self) -> list[Experiment]:
        """What has no Record, the most valuable first, with the runs that it needs the weights of."""
        return with_needed(self.by_value())


def _chain(experiment: Experiment) -> list[Experiment]:
    return [found for other in needs(experiment) for found in (*_chain(other), other)]


def read_study(path: Path, only: Sequence[str] = ()) -> Study:
    """The study that a file describes.

    Args:
        path: JSON: a list of objects with ``notebook`` (name of a template beside the study's folder, in
            ``notebooks``) and ``parameters``.
        only: names of notebooks; all of them if empty.

    Returns:
        The study; an entry before another is more important.

    Raises:
        ValueError: if the file is no such list, or a notebook is not in it or lacks a parameter, besides what `Study`
            raises.
        FileNotFoundError: if there is no such file.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        known = [entry["notebook"] for entry in entries]
        parameters = [dict(entry["parameters"]) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} is no study ({error!r}): write [{{"notebook": "kd-stages", "parameters": {{...}}}}, ...]'
        ) from error
    if unknown := sorted(set(only) - set(known)):
        raise ValueError(f"{path} has no notebook {', '.join(unknown)}: it has {', '.join(dict.fromkeys(known))}")
    folder = path.resolve().parent.parent / "notebooks"
    chosen = [pair for pair in zip(known, parameters, strict=True) if not only or pair[0] in only]
    return Study([notebook_grid(folder / f"{name}.ipynb", given) for name, given in chosen])


def default_study() -> Path:
    """The study of this checkout, ``workflow/study.json``.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    root = find_checkout()
    if root is None:
        raise FileNotFoundError("there is no checkout around this folder: name the file of a study")
    return root / "workflow" / "study.json"


@dataclass(frozen=True)
class Estimate:
    """What is left of a study.

    Attributes:
        runs: without a Record, teachers to be trained again for their weights included.
        steps: their optimizer steps.
        hours: at this machine's speed, all processes together.
        bytes: that their weights need in the folder of runs.
        free: bytes that are free there.
    """

    runs: int
    steps: int
    hours: float
    bytes: int
    free: int


def estimate(study: Study, jobs: int = 1) -> Estimate:
    """Measure a few steps of every task and count.

    Args:
        study: which one.
        jobs: processes side by side; the steps are timed alone, and shared cores are taken to be shared evenly.

    Returns:
        What is left to do.
    """
    left = study.left()
    speeds = {experiment.task: experiment for experiment in left}
    speeds = {task: measure_step(experiment) for task, experiment in speeds.items()}
    seconds = sum(experiment.steps * speeds[experiment.task] for experiment in left)
    if not torch.cuda.is_available():
        jobs = min(jobs, psutil.cpu_count(logical=False) or jobs)
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    return Estimate(len(left), sum(e.steps for e in left), seconds / 3600 / jobs, _bytes(left, jobs), free)


def _bytes(left: Sequence[Experiment], jobs: int) -> int:
    sizes: dict[str, int] = {}
    for experiment in left:
        if experiment.model not in sizes:
            sizes[experiment.model] = sum(p.nbytes for p in untrained(experiment)[0].parameters())
    return sum(sizes[e.model] for e in left) + jobs * _COPIES_OF_WEIGHTS * max(sizes.values(), default=0)


def idle_jobs(running: int) -> int:
    """How many runs the idle cores of this machine allow, given how many there are.

    Other programs keep the cores that they use; one run is always allowed. On a CUDA device it is a process a core, one
    kept for what feeds them.
    """
    cores = psutil.cpu_count() or 1
    if torch.cuda.is_available():
        return max(1, cores - 1)
    idle = sum(100 - percent for percent in psutil.cpu_percent(interval=1.0, percpu=True)) / 100
    return max(1, min(cores, running + math.floor(idle + 1 - _BUSY)))


def run_study(
    study: Study, jobs: int = 0, minutes: float = math.inf, say: Callable[[str], None] = logger.info
) -> dict[str, int]:
    """Train what has no Record, until nothing is left or time is up.

    It may be killed at any moment and started again. A run that fails is named and left out. One that would not be
    finished in time, as far as finished runs of its task tell, is not begun, and those that are under way when time is
    up stop with a checkpoint.

    Args:
        study: which one.
        jobs: processes side by side; 0 for as many as there are idle cores, looked at again before every start.
        minutes: from now until time is up.
        say: takes a line for every run that ends.

    Returns:
        How many runs are ``done``, ``paused``, ``failed`` or found ``no space``, and how many are ``left``.

    Raises:
        RuntimeError: another study works in the same folder of runs.
        ValueError: the time is not in the future.
    """
    if not minutes > 0:
        raise ValueError(f"the deadline is {minutes} minutes from now: give a positive number of them")
    started = time.time()
    deadline = started + 60 * minutes
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "study.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another study works in {folder} ({lock.lock_file} is locked): wait for it, or set XTCQ_RUNS to another"
        ) from None
    counts = dict.fromkeys((DONE, PAUSED, FAILED, FULL), 0)
    paces: dict[str, list[float]] = defaultdict(list)

    begun: dict[Experiment, float] = {}

    def in_time(experiment: Experiment) -> bool:
        # A Record does not tell: it may be another machine's. A run that was begun before is counted in full.
        pace = statistics.median(paces[experiment.task]) if paces[experiment.task] else 0.0
        fits = time.time() + experiment.steps * pace < deadline
        if fits:
            begun[experiment] = time.time()
        return fits

    def ended(experiment: Experiment, status: str, text: str) -> None:
        counts[status] += 1
        what = text or f"{experiment} ({experiment.digest})"
        if status == DONE:
            record = load_record(record_path(experiment))
            study.take(record)
            paces[experiment.task].append((time.time() - begun[experiment]) / experiment.steps)
            what += f" {record.best[task_spec(experiment.task).primary_metric]:.1f}"
        left = study.left()
        minute = (time.time() - started) / 60
        say(f"{minute:.1f} min  {status}  {what}; left {len(left)} runs, {sum(e.steps for e in left):,} steps")

    with held:
        work_through(study.by_value, jobs or idle_jobs, may_start=in_time, deadline=deadline, ended=ended)
    return counts | {"left": len(study.left())}
