"""Does a score depend on the number format that a student and its teacher were trained in?

Trains the same students twice, from teachers of the same format, and compares pair by pair: four tasks, one and two
bits, three seeds.

    python benchmarks/number_format.py run fp32 --jobs 2
    python benchmarks/number_format.py run bf16 --jobs 2
    python benchmarks/number_format.py report
"""

from __future__ import annotations

import math
import os
from itertools import product
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from scipy.stats import t as student_t

from xtcq.study import load_profile, load_record, records_folder
from xtcq.study.archive import export_records, import_records, read_archive
from xtcq.study.study import Study, run_study
from xtcq.training.number_format import VARIABLE, choose

RESULTS = Path(__file__).parent / "results"
TASKS, PRECISIONS, SEEDS, RATE = ("sst2", "cola", "stsb", "mrpc"), ("1-1-8", "2-2-8"), (42, 111, 222), 2e-4

app = typer.Typer(help=__doc__)


@app.command()
def run(
    compute: Annotated[str, typer.Argument(help="fp32, tf32 or bf16")],
    tasks: Annotated[list[str], typer.Option("--task")] = list(TASKS),  # noqa: B006
    jobs: int = 1,
    deadline: Annotated[float, typer.Option(help="minutes from now")] = math.inf,
    folder: Annotated[Path, typer.Option(help="of runs and Records")] = Path("runs") / "number_format",
) -> None:
    """Train what is missing in a format, and add the Records to those in the archive among the results."""
    archive = RESULTS / f"number_format-{compute}.zip"
    os.environ |= {
        VARIABLE: choose(compute),
        "XTCQ_RECORDS": str(folder / compute / "records"),
        "XTCQ_RUNS": str(folder / compute / "runs"),
    }
    if archive.exists():
        import_records(archive)
    scale = load_profile("mini")
    grid = [
        scale.student(task, precision=precision, stages="one-stage", learning_rate=RATE, seed=seed)
        for seed, task, precision in product(SEEDS, tasks, PRECISIONS)
    ]
    run_study(Study([grid]), jobs, deadline, print)
    found = [load_record(path) for path in sorted(records_folder().glob("*.json"))]
    print(export_records(found, archive), "Records")


@app.command()
def report(first: str = "fp32", second: str = "bf16") -> None:
    """Print the differences of best scores, pair by pair, beside the spread of seeds in one format."""
    frames = []
    for name in (first, second):
        keys, rows = ["task", "precision", "learning_rate", "seed"], []
        for record in read_archive(RESULTS / f"number_format-{name}.zip"):
            experiment, metric = record.experiment, record.experiment.spec.primary_metric
            found = {"score": record.best[metric], "last": record.last[metric], "device": record.device}
            rows.append({key: getattr(experiment, key) for key in keys} | found)
        frames.append(pd.DataFrame(rows).set_index(keys).add_suffix(f" {name}"))
    pairs = frames[0].join(frames[1], how="inner").sort_index()
    print(pairs.round(1).to_string())
    rows = {}
    for score in ("score", "last"):
        ours, theirs = pairs[f"{score} {first}"], pairs[f"{score} {second}"]
        groups = pd.DataFrame({"difference": theirs - ours, first: ours, second: theirs}).groupby(level=[0, 1])
        for place, group in groups:
            n, mean, sd = len(group), group["difference"].mean(), group["difference"].std()
            half = student_t.ppf(0.975, n - 1) * sd / math.sqrt(n) if n > 1 else math.nan
            spread = math.sqrt((group[first].var() + group[second].var()) / 2)
            rows[(score, *place)] = {"pairs": n, "difference": mean, "plus or minus": half, "spread of seeds": spread}
    print(pd.DataFrame(rows).T.round(2).to_string())


if __name__ == "__main__":
    app()
