"""What snakemake has to train: the runs of a study, or of a table of the papers, that have no Record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xtcq.study import Experiment


def write_plan(config: Mapping[str, Any], target: Path) -> None:
    """Look at the Records and weights that are here, and write which runs are left, in the order of their importance.

    Args:
        config: of the workflow. ``study`` is a file, as `xtcq.study.study.read_study` reads it, of which ``notebook``
            names the only notebook; or ``table`` is a table of the papers, of which ``rows`` and ``task`` choose cells
            as they do for ``python -m xtcq_book table``.
        target: the file to write. Jobs on other machines read it, since what is left changes while they run.

    Raises:
        ValueError: the file is no study, there is no such table, row or task, or nothing of it can be run.
        FileNotFoundError: there is no such file.
    """
    # Here, and not above: torch takes seconds, and chapters and jobs do without.
    from xtcq.files import write_atomically
    from xtcq.study.queue import needs
    from xtcq.study.records import record_path, records_folder, runs_folder

    left = _left(config)
    made = {experiment.spec.synthetic for experiment in left}
    if len(made) > 1:
        raise ValueError(
            "tasks that the project generates keep their Records elsewhere: give them a study of their own"
        )
    runs = {
        experiment.digest: {
            "experiment": experiment.to_dict(),
            "needs": [other.digest for other in needs(experiment)],
            # Such a run is trained for its weights alone, which are not here; its Record stays.
            "recorded": record_path(experiment).exists(),
        }
        for experiment in left
    }
    folders = {"records": _shown(records_folder(synthetic=True in made)), "runs": _shown(runs_folder())}
    write_atomically(target, json.dumps({"plan": folders | {"left": runs}}))


def check_plan(path: Path) -> None:
    """Refuse a plan, as ``write_plan`` made it, of which any run lacks what it reads.

    Raises:
        FileNotFoundError, ValueError: see ``xtcq.study.queue.check_inputs``.
    """
    from xtcq.study import Experiment
    from xtcq.study.queue import check_inputs

    runs = json.loads(path.read_text(encoding="utf-8"))["plan"]["left"].values()
    check_inputs(Experiment.from_dict(run["experiment"]) for run in runs)


def _left(config: Mapping[str, Any]) -> Sequence[Experiment]:
    if "study" in config and "table" in config:
        raise ValueError("both a study and a table are given: give one of them")
    if "study" in config:
        from xtcq.study.study import read_study

        return read_study(Path(config["study"]), [config["notebook"]] if "notebook" in config else []).left()
    from xtcq_book.paper_tables import cells, experiments

    from xtcq.study import regime
    from xtcq.study.queue import with_needed

    tasks = config.get("task", [])
    found = cells(config["table"], config.get("rows", "*"), [tasks] if isinstance(tasks, str) else tasks)
    if not (runs := experiments(found)):
        raise ValueError("there is nothing to run: " + "; ".join(sorted({c.reason or c.how for c in found})))
    for run in (left := with_needed(runs)):
        regime.check(run)
    return left


def _shown(folder: Path) -> str:
    here, folder = Path.cwd(), folder.absolute()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
