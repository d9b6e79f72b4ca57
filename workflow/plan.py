"""What snakemake has to train of a study: the runs without a Record, in the order of ``python -m xtcq study``."""

import json
from collections.abc import Sequence
from pathlib import Path


def write_plan(study: Path, target: Path, only: Sequence[str] = ()) -> None:
    """Look at the Records and weights that are here, and write which runs are left, the most valuable first.

    Args:
        study: its file, as `xtcq.study.study.read_study` reads it.
        target: the file to write. Jobs on other machines read it, since what is left changes while they run.
        only: names of notebooks; all of them if empty.

    Raises:
        ValueError: if the file is no study.
        FileNotFoundError: if there is no such file.
    """
    # Here, and not above: torch takes seconds, and chapters and jobs do without.
    from xtcq.files import write_atomically
    from xtcq.study.queue import needs
    from xtcq.study.records import record_path, records_folder, runs_folder
    from xtcq.study.study import read_study

    runs = {
        experiment.digest: {
            "experiment": experiment.to_dict(),
            "needs": [other.digest for other in needs(experiment)],
            # Such a run is trained for its weights alone, which are not here; its Record stays.
            "recorded": record_path(experiment).exists(),
        }
        for experiment in read_study(study, only).left()
    }
    folders = {"records": _shown(records_folder()), "runs": _shown(runs_folder())}
    write_atomically(target, json.dumps({"plan": folders | {"left": runs}}))


def _shown(folder: Path) -> str:
    here, folder = Path.cwd(), folder.absolute()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
