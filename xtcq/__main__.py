"""The command line: ``python -m xtcq --help``."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Compress BERT to one and two bits, and check it.")


def _fail(error: Exception) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(1)


@app.command()
def cost(
    arch: Annotated[str, typer.Option(help="bert-base or minilm-l6")] = "bert-base",
    precision: Annotated[str, typer.Option(help="W-E-A, or W-A together with --embeddings")] = "1-1-8",
    recipe: Annotated[str, typer.Option(help="xtc, ternarybert or adaqat")] = "xtc",
    layers: Annotated[int | None, typer.Option(help="depth, if other than the architecture's")] = None,
    lora_rank: Annotated[int, typer.Option(help="rank of the full-precision term beside each matrix")] = 0,
    embeddings: Annotated[str | None, typer.Option(help="bits of token, segment and position table: T-K-P")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Size and BitOPs of an architecture at a precision. Nothing is downloaded."""
    from xtcq.quantization import cost_report

    try:
        report = cost_report(arch, precision, recipe=recipe, layers=layers, lora_rank=lora_rank, embeddings=embeddings)
    except ValueError as error:
        raise _fail(error) from None
    typer.echo(json.dumps(report, indent=1) if as_json else pd.Series(report).to_string())


@app.command()
def run(
    source: Annotated[Path, typer.Argument(help="experiments as JSON (one or a list), or a notebook: its grid")],
    profile: Annotated[str | None, typer.Option(help="profile of a notebook's grid")] = None,
    parameters: Annotated[str, typer.Option(help="other parameters of a notebook, as JSON")] = "{}",
    jobs: Annotated[int, typer.Option(min=1, help="processes side by side on one device")] = 1,
    dry_run: Annotated[bool, typer.Option(help="only list the experiments and whether their Record exists")] = False,
) -> None:
    """Train what has no Record yet. Interrupted runs go on from their checkpoint."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("xtcq").setLevel(logging.INFO)
    from xtcq.study import record_path, run_all

    try:
        experiments = _experiments(source, profile, parameters)
        if dry_run:
            for experiment in experiments:
                state = "done" if record_path(experiment).exists() else "open"
                typer.echo(f"{state}  {experiment.digest}  {experiment}")
            return
        records = run_all(experiments, jobs)
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    typer.echo(f"{len(records)} Records in {record_path(experiments[0]).parent}")


def _experiments(source: Path, profile: str | None, parameters: str) -> list:
    from xtcq.study import Experiment, notebook_grid

    if source.suffix == ".ipynb":
        given = json.loads(parameters) | ({"profile": profile} if profile else {})
        return notebook_grid(source, given)
    fields = json.loads(source.read_text(encoding="utf-8"))
    return [Experiment.from_dict(one) for one in (fields if isinstance(fields, list) else [fields])]


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="the checkout")] = Path("."),
) -> None:
    """Gates of the published edition: templates, Records, glue keys."""
    from xtcq.study.gates import check_book

    problems = check_book(root.resolve())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("the published edition matches its templates and Records")


if __name__ == "__main__":
    app()
