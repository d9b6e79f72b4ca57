"""The command line: ``python -m xtcq --help``."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Compress BERT to one and two bits, and check it.")


COMPUTE = "number format of new runs: auto, fp32, tf32 or bf16 [default: XTCQ_COMPUTE, else fp32]"

study_app = typer.Typer(help="All runs of the book that have no Record yet, the most valuable first.")
app.add_typer(study_app, name="study")


def _fail(error: Exception) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(1)


@app.command()
def cost(
    arch: Annotated[str, typer.Option(help="bert-base or minilm-l6")] = "bert-base",
    precision: Annotated[str, typer.Option(help="W-E-A, or W-A together with --embeddings")] = "1-1-8",
    recipe: Annotated[str, typer.Option(help="xtc, ternarybert, binarybert or adaqat")] = "xtc",
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
    lines = [f"{name:<12} {value:>17{'.2f' if isinstance(value, float) else ','}}" for name, value in report.items()]
    typer.echo(json.dumps(report, indent=1) if as_json else "\n".join(lines))


@app.command()
def run(
    source: Annotated[Path, typer.Argument(help="experiments or Records as JSON, or a notebook: its grid")],
    profile: Annotated[str | None, typer.Option(help="profile of a notebook's grid")] = None,
    parameters: Annotated[str, typer.Option(help="other parameters of a notebook, as JSON")] = "{}",
    jobs: Annotated[int, typer.Option(min=1, help="processes side by side on one device")] = 1,
    compute: Annotated[str, typer.Option(help=COMPUTE)] = "",
    dry_run: Annotated[bool, typer.Option(help="only list the experiments and whether their Record exists")] = False,
    weights: Annotated[bool, typer.Option("--weights", help="train also what has only a Record here")] = False,
) -> None:
    """Train what has no Record yet. Interrupted runs go on from their checkpoint."""
    _log()
    from xtcq.study import record_path, run_all
    from xtcq.study.runs import make

    try:
        _compute(compute)
        experiments = _experiments(source, profile, parameters)
        if dry_run:
            for experiment in experiments:
                state = "done" if record_path(experiment).exists() else "open"
                typer.echo(f"{state}  {experiment.digest}  {experiment}")
            return
        records = run_all(experiments, jobs)
        for experiment in experiments if weights else ():
            make(experiment)
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    typer.echo(f"{len(records)} Records in {record_path(experiments[0]).parent}")


def _compute(asked: str) -> None:
    from xtcq.training.number_format import VARIABLE, choose

    if asked or VARIABLE in os.environ:
        os.environ[VARIABLE] = choose(asked or os.environ[VARIABLE])


def _log() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("xtcq").setLevel(logging.INFO)


@study_app.callback(invoke_without_command=True)
def study(
    context: typer.Context,
    source: Annotated[Path | None, typer.Option(help="the study [default: workflow/study.json]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="a notebook of it; may be given several times")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="processes side by side; 0: one for each idle core")] = 0,
    deadline: Annotated[
        float, typer.Option(help="minutes from now; what is under way then is checkpointed")
    ] = math.inf,
    compute: Annotated[str, typer.Option(help=COMPUTE)] = "",
    estimate: Annotated[bool, typer.Option("--estimate", help="only say what is left, in steps, hours, bytes")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list what is left, in its order")] = False,
    export: Annotated[Path | None, typer.Option(help="write the study's Records to a file at the end")] = None,
) -> None:
    """Train what has no Record yet, until nothing is left or time is up. May be killed and started again."""
    if context.invoked_subcommand:
        return
    _log()
    from xtcq.study.archive import export_records
    from xtcq.study.speed import estimate as estimate_study
    from xtcq.study.study import default_study, idle_jobs, read_study, run_study

    try:
        _compute(compute)
        chosen = read_study(source or default_study(), only or ())
        if dry_run:
            for experiment in chosen.left():
                typer.echo(f"{experiment.digest}  {experiment.steps:>6}  {experiment}")
            return
        if estimate:
            found = estimate_study(chosen.left(), jobs or idle_jobs(0))
            typer.echo("\n".join(f"{name:<6} {value:,.6g}" for name, value in dataclasses.asdict(found).items()))
            return
        # Told to end, it ends by way of the export.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            counts = run_study(chosen, jobs, deadline)
        finally:
            if export is not None:
                typer.echo(f"{export}: {export_records(chosen.records(), export)} Records")
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    typer.echo(", ".join(f"{number} {name}" for name, number in counts.items()))
    if counts["failed"] or counts["no space"]:
        raise typer.Exit(1)


@study_app.command("import")
def import_(
    archive: Annotated[Path, typer.Argument(help="a file that --export wrote")],
) -> None:
    """Add another machine's Records to those that are here; all are checked before the first is written."""
    from xtcq.study.archive import import_records

    try:
        new, known = import_records(archive)
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    typer.echo(f"{len(new)} new Records; {len(known)} were here already and stay")


def _experiments(source: Path, profile: str | None, parameters: str) -> list:
    from xtcq.study import Experiment, notebook_grid

    if source.suffix == ".ipynb":
        given = json.loads(parameters) | ({"profile": profile} if profile else {})
        return notebook_grid(source, given)
    fields = json.loads(source.read_text(encoding="utf-8"))
    several = fields if isinstance(fields, list) else [fields]
    if not several:
        raise ValueError(f"{source} holds an empty list: write one experiment or more")
    of_records = [one.get("experiment", one) if isinstance(one, dict) else one for one in several]
    return [Experiment.from_dict(one) for one in of_records]


@app.command()
def pack(
    source: Annotated[Path, typer.Argument(help="an experiment or a Record as JSON; trained first if it was not")],
    folder: Annotated[Path, typer.Argument(help="where the packed model goes")],
    rest: Annotated[str, typer.Option(help="width of scales and unquantized parameters: fp32 or fp16")] = "fp32",
) -> None:
    """Pack the trained student of an experiment into a folder that load_packed reads."""
    from xtcq.packing import ENCODERS, ModelCard, save_packed
    from xtcq.quantization import freeze
    from xtcq.study import load_record, record_path, trained_student

    try:
        experiments = _experiments(source, None, "{}")
        if len(experiments) != 1:
            raise ValueError(f"{source} holds {len(experiments)} experiments, expected one: write it to its own file")
        (experiment,) = experiments
        if not experiment.quantized:
            raise ValueError(f"{experiment} is not quantized, so nothing can be packed: give it a precision below 32")
        model, tokenizer = trained_student(experiment)
        record = load_record(record_path(experiment))
        card = ModelCard(
            task=experiment.spec.title,
            metrics=record.best,
            evaluated_on="development set, on which the best of several evaluations was chosen",
            teacher=None if experiment.teacher is None else str(experiment.teacher),
            **ENCODERS[experiment.model],
        )
        save_packed(freeze(model), folder, rest=rest, tokenizer=tokenizer, card=card)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        raise _fail(error) from None
    size = sum(path.stat().st_size for path in folder.iterdir())
    typer.echo(f"{folder}: {size / 2**20:.2f} MiB with tokenizer and card")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="folder of a packed model")],
    text: Annotated[str | None, typer.Option(help="one text to classify")] = None,
    pair: Annotated[str | None, typer.Option(help="its second text, for a model of pairs")] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="a .csv, .tsv, .txt or .parquet file instead of a text")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="the .csv or .parquet file to write")] = None,
    column: Annotated[str | None, typer.Option(help="column of the texts")] = None,
    pair_column: Annotated[str | None, typer.Option(help="column of the second texts")] = None,
    encoding: Annotated[str | None, typer.Option(help="of a text file, such as cp1252 [default: utf-8]")] = None,
    on_empty: Annotated[
        str, typer.Option(help="a row without text: error, skip (left out), or empty (kept without prediction)")
    ] = "error",
    batch_size: Annotated[int, typer.Option(min=1, help="rows that are run together")] = 32,
    weights: Annotated[str, typer.Option(help="int8, or matmulnbits: 2 bits, for a text at a time")] = "int8",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Classify one text, or every row of a file, with integer arithmetic."""
    from xtcq.deploy.predict import predict_file, predict_text
    from xtcq.deploy.runtime import Runtime

    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        if (text is None) == (source is None) or (pair is not None and text is None):
            raise ValueError("give --text (and --pair), or --input, --output and --column (and --pair-column)")
        if source is not None and (output is None or column is None):
            raise ValueError("--input also needs --output, the file to write, and --column, the texts in it")
        runtime = Runtime(model, weights)
        if text is not None:
            typer.echo(predict_text(runtime, text, pair, as_json))
            return
        rows = predict_file(
            runtime, source, output, column, pair_column, batch_size, encoding=encoding, on_empty=on_empty
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    typer.echo(json.dumps({"rows": rows, "output": str(output)}) if as_json else f"{output}: {rows} rows")


if __name__ == "__main__":
    app()
