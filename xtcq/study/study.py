"""The study: all runs of the book's notebooks that have no Record yet, the most valuable first, until time is up."""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch
from filelock import FileLock, Timeout

from xtcq.files import find_checkout
from xtcq.parameters import read_parameters
from xtcq.study import regime
from xtcq.study.experiment import Experiment
from xtcq.study.queue import DONE, FAILED, FULL, PAUSED, check_inputs, with_all_needed, with_needed, work_through
from xtcq.study.records import Record, load_record, record_path, runs_folder

logger = logging.getLogger(__name__)

_CARD_SHARE = 5 * 2**30  # of a card's memory for a process: its context, a small encoder's training, its graphs
_BUSY = 0.7  # share of a core that other programs may use before it counts as taken


class Study:
    """Grids of experiments, the most important first, and what of them is left.

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
        self._scores[record.experiment] = record.best[record.experiment.spec.primary_metric]

    def give_up(self, experiment: Experiment) -> None:
        """Learn of a failed run: no rate is worse, and the others' seeds need not wait for it."""
        self._scores[experiment] = -math.inf

    def records(self) -> list[Record]:
        """Its Records, and those of the runs that they need."""
        known = with_all_needed(experiment for grid in self._grids for experiment in grid)
        return [load_record(record_path(experiment)) for experiment in known if record_path(experiment).exists()]

    def by_value(self) -> list[Experiment]:
        """All experiments, the most valuable first."""
        return by_value(self._grids, self._scores.get)

    def left(self) -> list[Experiment]:
        """What has no Record, the most valuable first, with the runs that it needs the weights of."""
        return with_needed(self.by_value())


def by_value(grids: Sequence[Sequence[Experiment]], score: Callable[[Experiment], float | None]) -> list[Experiment]:
    """Sort the runs of several grids, the most important first, by what they decide; each comes once.

    Runs that differ in learning rate and seed alone are a cell: a comparison takes each of its sides at its best rate,
    over several seeds. Grid after grid comes one seed of the three rates in the middle, and of one further out as long
    as the best is at the edge of what was tried; then the other seeds at each cell's best rate. After that of all grids
    come the seeds at the two rates beside the best, and then what is left. ``score`` gives the primary metric of a
    finished run, and None of another.
    """
    keys: dict[Experiment, tuple[int, int, int]] = {}
    for number, grid in enumerate(grids):
        cells: dict[Experiment, list[Experiment]] = defaultdict(list)
        for experiment in grid:
            cells[_cell(experiment)].append(experiment)
        for cell in cells.values():
            tried, best = _sweep({e.learning_rate: score(e) for e in cell if e.seed == cell[0].seed})
            for experiment in cell:
                place = experiment.learning_rate
                if experiment.seed == cell[0].seed:
                    rank = 0 if place in tried else 3
                else:
                    rank = 3 if best is None or place not in tried else min(1 + abs(tried.index(place) - best), 3)
                # The first two ranks decide the grid's own comparisons; the others wait for those of all grids.
                key = (0, number, rank) if rank < 2 else (rank, number, 0)
                keys[experiment] = min(key, keys.get(experiment, key))
    return sorted(keys, key=keys.__getitem__)


@cache
def _cell(experiment: Experiment) -> Experiment:
    return replace(experiment, learning_rate=1.0, seed=0)


def _sweep(scores: dict[float, float | None]) -> tuple[list[float], int | None]:
    """Rates that a sweep tries, by size, and which of them is the best; None while that is not known."""
    rates = sorted(scores)
    low = max(0, (len(rates) - 3) // 2)
    high = min(len(rates), low + 3)
    while True:
        tried = rates[low:high]
        known = [score for rate in tried if (score := scores[rate]) is not None]
        if len(known) < len(tried):
            return tried, None
        best = known.index(max(known))
        if best == 0 and low > 0:
            low -= 1
        elif best == len(tried) - 1 and high < len(rates):
            high += 1
        else:
            return tried, best


def read_study(path: Path, only: Sequence[str] = ()) -> Study:
    """The study that a file describes, or of its notebooks those in ``only``.

    The file is a list in JSON of objects with ``notebook``, the name of a template in ``notebooks`` beside its folder,
    and ``parameters``; an entry before another is more important.

    Raises:
        ValueError: if the file is no such list, or a notebook is not in it or lacks a parameter, besides what `Study`
            raises.
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


def notebook_grid(notebook: Path, parameters: dict[str, Any]) -> list[Experiment]:
    """The experiments of a notebook, without Jupyter: its cells ``parameters`` and ``grid`` are run for ``grid``.

    The given parameters replace the notebook's own, as papermill would.

    Raises:
        ValueError: if the file is no notebook or has no such cells, or a parameter does not exist there or cannot be
            read as its type, see ``xtcq.parameters``.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        source = {tag: "".join(c["source"]) for c in cells for tag in c["metadata"].get("tags", ())}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook} is no notebook ({error!r})") from error
    if "grid" not in source or "parameters" not in source:
        raise ValueError(f"{notebook} has no cells tagged 'parameters' and 'grid': it trains nothing.")
    names: dict[str, Any] = {}
    # Not with the future of this file, in which annotations are text.
    exec(compile(source["parameters"], f"{notebook}#parameters", "exec", dont_inherit=True), names)
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        known = sorted(name for name in names if not name.startswith("_"))
        raise ValueError(f"{notebook} has no parameter {', '.join(unknown)}: it has {', '.join(known)}.")
    names |= parameters
    try:
        read_parameters(names)
    except ValueError as error:
        raise ValueError(f"{notebook}: {error}") from error
    exec(compile(source["grid"], f"{notebook}#grid", "exec"), names)
    return list(names["grid"])


def default_study() -> Path:
    """The study of this checkout, ``workflow/study.json``.

    Raises:
        FileNotFoundError: outside a checkout.
    """
    root = find_checkout()
    if root is None:
        raise FileNotFoundError("there is no checkout around this folder: name the file of a study")
    return root / "workflow" / "study.json"


def idle_jobs(running: int) -> int:
    """How many runs the idle cores of this machine allow, given how many there are.

    Other programs keep the cores that they use; one run is always allowed. On a CUDA device it is a process a core, as
    far as the card's memory goes.
    """
    cores = psutil.cpu_count() or 1
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return max(1, min(cores - 1, running + int(free / _CARD_SHARE)))
    idle = sum(100 - percent for percent in psutil.cpu_percent(interval=1.0, percpu=True)) / 100
    return max(1, min(cores, running + math.floor(idle + 1 - _BUSY)))


def run_study(
    study: Study, jobs: int = 0, minutes: float = math.inf, say: Callable[[str], None] = logger.info
) -> dict[str, int]:
    """Train what has no Record, until nothing is left or ``minutes`` are over, and count how the runs ended.

    It may be killed at any moment and started again. A run that fails is named and left out. One that would not be
    finished in time, as far as finished runs of its task tell, is not begun, and those that are under way when time is
    up stop with a checkpoint. ``jobs`` of 0 are as many as there are idle cores, looked at again before every start;
    ``say`` takes a line for every run that ends.

    Raises:
        RuntimeError: another study works in the same folder of runs.
        ValueError: the time is not in the future, or something that a run reads is not what its name says.
        FileNotFoundError: something that a run reads is missing, see `check_inputs`.
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
        # A Record does not tell: it may be another machine's.
        pace = statistics.median(paces[experiment.task]) if paces[experiment.task] else 0.0
        fits = time.time() + experiment.steps * pace < deadline
        # Nor does a run that goes on from a checkpoint.
        if fits and not (runs_folder() / experiment.digest).exists():
            begun[experiment] = time.time()
        return fits

    def ended(experiment: Experiment, status: str, text: str) -> None:
        counts[status] += 1
        what = text or f"{experiment} ({experiment.digest})"
        if status == DONE:
            record = load_record(record_path(experiment))
            study.take(record)
            if experiment in begun:
                paces[experiment.task].append((time.time() - begun[experiment]) / experiment.steps)
            what += f" {record.best[experiment.spec.primary_metric]:.1f}"
        elif status == FAILED:
            study.give_up(experiment)
        left = study.left()
        minute = (time.time() - started) / 60
        say(f"{minute:.1f} min  {status}  {what}; left {len(left)} runs, {sum(e.steps for e in left):,} steps")

    with held:
        check_inputs(study.left())
        work_through(study.by_value, jobs or idle_jobs, may_start=in_time, deadline=deadline, ended=ended)
    return counts | {"left": len(study.left())}
