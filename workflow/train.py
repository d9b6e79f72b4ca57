"""Trains one run of a plan, on one card of this machine."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from execute import one_gpu

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    plan: Annotated[Path, typer.Argument(help="what plan.py wrote")],
    digest: Annotated[str, typer.Argument(help="which run of it")],
    record: Annotated[Path, typer.Option(help="where its Record is or goes")],
    weights: Annotated[Path, typer.Option(help="where its weights go")],
    locks: Annotated[Path, typer.Option(help="folder of the locks of this machine's cards")],
    processes: Annotated[int, typer.Option(min=1, help="how many of these share the processor")] = 1,
) -> None:
    """Train one run; one that was cut off goes on from its last checkpoint."""
    # Not the folders of the plan: without a shared file system snakemake keeps local copies elsewhere.
    os.environ |= {"XTCQ_RECORDS": str(record.parent), "XTCQ_RUNS": str(weights.parent.parent)}
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("xtcq").setLevel(logging.INFO)
    locks.mkdir(parents=True, exist_ok=True)
    with one_gpu(locks):
        # After the card is chosen: torch looks once.
        import torch

        from xtcq.study import Experiment
        from xtcq.study.runs import make

        fields = json.loads(plan.read_text(encoding="utf-8"))["plan"]["left"][digest]["experiment"]
        experiment = Experiment.from_dict(fields)
        if experiment.digest != digest:
            raise SystemExit(
                f"error: the plan has {digest} where this machine's xtcq has {experiment.digest}, for {experiment}: "
                "its method or settings are other ones; use one version of the code everywhere"
            )
        # A card is one run's own; without one, the runs share the device that the Record names.
        make(experiment, shared=1 if torch.cuda.is_available() else processes)


if __name__ == "__main__":
    app()
