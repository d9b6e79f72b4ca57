"""Experiments side by side: a process for each, what a run needs before the run, and a failure costs one run."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache

import torch
from joblib.externals.loky import ProcessPoolExecutor

from xtcq.encoder import load_encoder, load_masked_lm
from xtcq.study import regime
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, load_record, record_path, records_folder
from xtcq.study.runs import make, run, side_by_side
from xtcq.study.students import is_trained
from xtcq.tasks import load_task
from xtcq.tasks.augmentation.store import MASKED_LM, load_vectors
from xtcq.training import Paused

logger = logging.getLogger(__name__)

# Seconds that runs have after a deadline to come to a step that is logged, and to save a checkpoint.
GRACE = 60
DONE, PAUSED, FAILED, FULL = "done", "paused", "failed", "no space"


def run_all(experiments: Iterable[Experiment], jobs: int = 1) -> list[Record]:
    """Run many experiments, teachers before students, and report every failure at the end.

    Args:
        experiments: the grid.
        jobs: processes side by side on the one device; each gets its share of the processor's cores.

    Returns:
        Records in the order of the experiments.

    Raises:
        ValueError: if an experiment learns bit-widths in too few steps; nothing was trained then.
        FileNotFoundError: likewise, if something that a run reads is missing, see `check_inputs`.
        RuntimeError: if some runs failed, naming each; those that need none of them are finished and stored.
    """
    experiments = list(experiments)
    missing = with_needed(experiments)
    for experiment in missing:
        regime.check(experiment)
    check_inputs(missing)
    ends = work_through(lambda: experiments, jobs)
    if failures := [text for status, text in ends.values() if status != DONE]:
        raise RuntimeError(f"{len(failures)} of {len(missing)} runs failed:\n" + "\n".join(failures))
    return [run(experiment) for experiment in experiments]


def check_inputs(runs: Iterable[Experiment]) -> None:
    """Refuse runs of which any could not be begun, so that none is trained in vain.

    Raises:
        FileNotFoundError: data, an encoder, or the masked language model or word vectors that sentences are added with
            cannot be found; the message says what to get and where to put it.
        ValueError: what was found is not what its name says.
    """
    runs = list(runs)
    for name in dict.fromkeys(one.model for one in runs):
        load_encoder(name, num_labels=2)
    sources = {one.augmentation for one in runs}
    if "tinybert" in sources:
        load_vectors()
    if sources & {"masked-lm", "tinybert"}:
        load_masked_lm(MASKED_LM)
    for task in dict.fromkeys(one.task for one in runs):
        load_task(task)


def stored(experiments: Iterable[Experiment]) -> list[Record]:
    """The Records that exist, in the order of the experiments; nothing is trained.

    Raises:
        RecordError: if a stored Record cannot be used.
    """
    return [load_record(path) for path in map(record_path, experiments) if path.exists()]


def gather(experiments: Iterable[Experiment], train: bool, jobs: int = 1) -> tuple[list[Record], list[Record]]:
    """What a page is drawn from: the Records of its grid, in its order, and those of `full_teachers`.

    With ``train`` what has no Record is trained, teachers included; otherwise it is left out. Errors are those of
    `stored` and `run_all`.
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


def needs(experiment: Experiment) -> list[Experiment]:
    """Runs whose weights a run begins with or learns from."""
    return [other for other in (experiment.teacher, experiment.start) if other is not None]


def with_needed(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Experiments without a Record, once each, and before each the runs that it needs and that are not here whole."""
    done = {path.stem for synthetic in (False, True) for path in records_folder(synthetic).glob("*.json")}
    return with_all_needed((one for one in experiments if one.digest not in done), cache(is_trained))


def with_all_needed(
    experiments: Iterable[Experiment], there: Callable[[Experiment], bool] = lambda experiment: False
) -> list[Experiment]:
    """Experiments once each, and before each the runs that it needs, but for those that are ``there``."""
    found: dict[Experiment, None] = {}

    def add(experiment: Experiment) -> None:
        if experiment not in found:
            for other in needs(experiment):
                if not there(other):
                    add(other)
            found[experiment] = None

    for experiment in experiments:
        add(experiment)
    return list(found)


def work_through(
    wanted: Callable[[], Sequence[Experiment]],
    jobs: int | Callable[[int], int],
    *,
    may_start: Callable[[Experiment], bool] = lambda experiment: True,
    deadline: float = float("inf"),
    ended: Callable[[Experiment, str, str], None] = lambda experiment, status, text: None,
) -> dict[Experiment, tuple[str, str]]:
    """Train what has no Record, as many at a time as there may be, until nothing is left that can be.

    A run that fails, or whose process is killed, leaves the others as they are; what needs it is not run, and has an
    end too. After a full disk nothing more is started.

    Args:
        wanted: experiments, the most wanted first; asked again whenever a run may be started.
        jobs: how many at a time, or what says it, given how many run; one alone runs in this process.
        may_start: whether there is time for a run.
        deadline: second of `time.time` at which runs stop with a checkpoint.
        ended: told of every end: the experiment, one of `DONE`, `PAUSED`, `FAILED`, `FULL`, and the reason.
    """
    ends: dict[Experiment, tuple[str, str]] = {}
    running: dict[Future, tuple[Experiment, ProcessPoolExecutor]] = {}
    idle: list[ProcessPoolExecutor] = []

    def finish(experiment: Experiment, status: str, text: str) -> None:
        ends[experiment] = status, text
        ended(experiment, status, text)

    try:
        while True:
            limit = jobs(len(running)) if callable(jobs) else jobs
            while len(running) < limit and not any(status == FULL for status, _ in ends.values()):
                busy = {experiment for experiment, _ in running.values()}
                chosen = _next(wanted(), ends, busy, may_start, finish)
                if chosen is None:
                    break
                if jobs == 1:
                    finish(chosen, *_attempt(chosen, 1, deadline))
                    continue
                pool = idle.pop() if idle else ProcessPoolExecutor(1, initializer=_begin)
                running[pool.submit(_attempt, chosen, limit, deadline)] = chosen, pool
            if not running:
                return ends
            if time.time() > deadline + GRACE:
                for experiment, _ in running.values():
                    finish(experiment, PAUSED, f"{experiment} ({experiment.digest}): stopped between two checkpoints")
                return ends
            # Whether more may run by now is looked at every now and then.
            for future in wait(running, 15, FIRST_COMPLETED).done:
                experiment, pool = running.pop(future)
                try:
                    end = future.result()
                    idle.append(pool)
                except BrokenProcessPool as error:
                    pool.shutdown(wait=False, kill_workers=True)
                    end = FAILED, f"{experiment} ({experiment.digest}): its process was killed: {error}"
                finish(experiment, *end)
    finally:
        for pool in (*idle, *(pool for _, pool in running.values())):
            pool.shutdown(wait=False, kill_workers=True)


def _next(
    wanted: Sequence[Experiment],
    ends: dict[Experiment, tuple[str, str]],
    busy: set[Experiment],
    may_start: Callable[[Experiment], bool],
    finish: Callable[[Experiment, str, str], None],
) -> Experiment | None:
    """The most wanted run that can start now; what needs a failed one is finished along the way."""
    for experiment in with_needed(wanted):
        if experiment in ends or experiment in busy:
            continue
        lacking = [other for other in needs(experiment) if not is_trained(other)]
        failed = [other for other in lacking if ends.get(other, (DONE,))[0] == FAILED]
        if failed:
            finish(experiment, FAILED, f"{experiment} ({experiment.digest}): not run, it needs {failed[0].digest}")
        elif not lacking and may_start(experiment):
            return experiment
    return None


# Of a worker: the study's process. Runs in that process itself do not look for another one above it.
_parent: int | None = None
_at_work = threading.Event()


def _begin() -> None:
    """Make a new process end when its parent is gone."""
    global _parent
    _parent = parent = os.getppid()

    def end_with_it() -> None:
        while _at_work.is_set() or os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=end_with_it, daemon=True).start()


@contextmanager
def _progress_lines() -> Iterator[None]:
    """Show what a run says of itself; afterwards the caller's logging is as it was."""
    log, level = logging.getLogger("xtcq"), logging.getLogger("xtcq").level
    own = None if log.hasHandlers() else logging.StreamHandler(sys.stdout)
    log.setLevel(logging.INFO)
    if own:
        own.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(own)
    try:
        yield
    finally:
        log.setLevel(level)
        if own:
            log.removeHandler(own)


def _attempt(experiment: Experiment, workers: int, deadline: float) -> tuple[str, str]:
    """Run one experiment, in a worker's process where there are several; a failure comes back as a line of text."""
    if _parent is not None:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    _at_work.set()
    with _progress_lines():
        try:
            # A run whose parent was killed saves what it has: whoever starts again goes on from there.
            make(
                experiment,
                lambda: time.time() > deadline or _parent not in (None, os.getppid()),
                workers * side_by_side(),
            )
        except Paused as pause:
            return PAUSED, f"{experiment} ({experiment.digest}): {pause}"
        except Exception as error:  # any reason: the rest of a long grid must not be lost
            logger.exception("failed: %s", experiment)
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            return FULL if full else FAILED, f"{experiment} ({experiment.digest}): {type(error).__name__}: {error}"
        finally:
            _at_work.clear()
            gc.collect()  # a Trainer is part of a cycle, and with it what it holds of a card's memory
            torch.cuda.empty_cache()
    return DONE, ""
