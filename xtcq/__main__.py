"""The command line: ``python -m xtcq --help``."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

DEBUG = "XTCQ_DEBUG"


class Commands(typer.core.TyperGroup):
    """Commands whose errors are one line; ``XTCQ_DEBUG=1`` shows where they come from."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # What the command line raises of its own, for usage and to exit, is none.
            its_own = type(error).__module__.partition(".")[0] in ("typer", "click")
            if its_own or isinstance(error, BrokenPipeError) or os.environ.get(DEBUG):
                raise
            said = str(error)
            plain = ValueError | OSError | RuntimeError | ArithmeticError | MemoryError
            if not said or not isinstance(error, plain):  # a KeyError, say, is its key alone
                said = f"{type(error).__name__}: {said} ({DEBUG}=1 shows where)"
            typer.echo(f"error: {said}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compress BERT to one and two bits, and check it. Errors are one line; XTCQ_DEBUG=1 shows where they arise.",
)


COMPUTE = "number format of new runs: auto, fp32, tf32 or bf16 [default: XTCQ_COMPUTE, else fp32]"

study_app = typer.Typer(help="All runs of the book that have no Record yet, the most valuable first.")
app.add_typer(study_app, name="study")


@app.command()
def cost(
    arch: Annotated[str, typer.Option(help="bert-base, minilm-l6, or the folder of your own BERT")] = "bert-base",
    precision: Annotated[str, typer.Option(help="W-E-A, or W-A together with --embeddings")] = "1-1-8",
    recipe: Annotated[str, typer.Option(help="xtc, xtc-median, ternarybert, binarybert or adaqat")] = "xtc",
    layers: Annotated[int | None, typer.Option(help="depth, if other than the architecture's")] = None,
    lora_rank: Annotated[int, typer.Option(help="rank of the full-precision term beside each matrix")] = 0,
    embeddings: Annotated[str | None, typer.Option(help="bits of token, segment and position table: T-K-P")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Size and BitOPs of an architecture at a precision. Nothing is downloaded."""
    from xtcq.quantization import cost_report

    report = cost_report(arch, precision, recipe=recipe, layers=layers, lora_rank=lora_rank, embeddings=embeddings)
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
    _check_file(source)
    _log()
    from xtcq.study import record_path, run_all
    from xtcq.study.runs import make

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
    typer.echo(f"{len(records)} Records in {record_path(experiments[0]).parent}")


def _compute(asked: str) -> None:
    from xtcq.training.number_format import VARIABLE, choose

    if chosen := asked or os.environ.get(VARIABLE):
        os.environ[VARIABLE] = choose(chosen)


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

    _compute(compute)
    chosen = read_study(source or default_study(), only or ())
    if dry_run:
        for experiment in chosen.left():
            typer.echo(f"{experiment.digest}  {experiment.steps:>6}  {experiment}")
        return
    if estimate:
        found = estimate_study(chosen.left(), jobs or idle_jobs(0))
        typer.echo("\n".join(f"{name:<6} {value:,.6g}" for name, value in found.items()))
        return
    if export is not None and export.is_dir():
        raise ValueError(f"--export {export} is a folder: give the name of a file")
    # Told to end, it ends by way of the export.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        counts = run_study(chosen, jobs, deadline)
    finally:
        if export is not None:
            typer.echo(f"{export}: {export_records(chosen.records(), export)} Records")
    typer.echo(", ".join(f"{number} {name}" for name, number in counts.items()))
    if counts["failed"] or counts["no space"]:
        raise typer.Exit(1)


@study_app.command("import")
def import_(archive: Annotated[Path, typer.Argument(help="a file that --export wrote")]) -> None:
    """Add another machine's Records to those that are here; all are checked before the first is written."""
    from xtcq.study.archive import import_records

    new, known = import_records(archive)
    typer.echo(f"{len(new)} new Records; {len(known)} were here already and stay")


def _check_file(source: Path) -> None:
    """Say so before seconds of imports."""
    if not source.is_file():
        raise FileNotFoundError(f"{source} is no file: give an experiment or a Record as JSON, as in book/records")


def _experiments(source: Path, profile: str | None, parameters: str) -> list:
    from xtcq.study import Experiment, notebook_grid

    if source.suffix == ".ipynb":
        given = _json("--parameters", parameters)
        if not isinstance(given, dict):
            raise ValueError(f"--parameters is {parameters}, expected an object such as '{{\"seeds\": [1, 2]}}'")
        found = notebook_grid(source, given | ({"profile": profile} if profile else {}))
    else:
        fields = _json(str(source), source.read_bytes())
        several = fields if isinstance(fields, list) else [fields]
        of_records = [one.get("experiment", one) if isinstance(one, dict) else one for one in several]
        try:
            found = [Experiment.from_dict(one) for one in of_records]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{source}: {error}") from error
    if not found:
        raise ValueError(f"{source} holds an empty list: write one experiment or more")
    return found


def _json(name: str, text: str | bytes) -> Any:
    from xtcq.files import parse_json

    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{name} is no JSON: {error}") from error


@app.command()
def pack(
    source: Annotated[Path, typer.Argument(help="an experiment or a Record as JSON; trained first if it was not")],
    folder: Annotated[Path, typer.Argument(help="where the packed model goes")],
    rest: Annotated[str, typer.Option(help="width of scales and unquantized parameters: fp32 or fp16")] = "fp32",
) -> None:
    """Pack the trained student of an experiment into a folder that load_packed reads."""
    _check_file(source)
    from xtcq.packing import ModelCard, save_packed
    from xtcq.pretrained import PUBLISHED
    from xtcq.quantization import freeze
    from xtcq.study import load_record, record_path, trained_student

    experiments = _experiments(source, None, "{}")
    if len(experiments) != 1:
        raise ValueError(f"{source} holds {len(experiments)} experiments, expected one: write it to its own file")
    (experiment,) = experiments
    if not experiment.quantized:
        raise ValueError(f"{experiment} is not quantized, so nothing can be packed: give it a precision below 32")
    model, tokenizer = trained_student(experiment)
    record, encoder = load_record(record_path(experiment)), PUBLISHED[experiment.model]
    card = ModelCard(
        base_model=encoder.repository,
        licence=encoder.licence,
        task=experiment.spec.title,
        metrics=record.best,
        evaluated_on="development set, on which the best of several evaluations was chosen",
        teacher=None if experiment.teacher is None else str(experiment.teacher),
    )
    save_packed(freeze(model), folder, rest=rest, tokenizer=tokenizer, card=card)
    if experiment.spec.head == "classifier":
        from xtcq.deploy.prepared import prepare

        with contextlib.suppress(ValueError):  # without a graph of integers it is packed all the same
            prepare(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    typer.echo(f"{folder}: {size / 2**20:.2f} MiB with tokenizer and card")


@app.command()
def rename_labels(
    folder: Annotated[Path, typer.Argument(help="folder of a packed classifier")],
    names: Annotated[list[str], typer.Argument(help="a name for each label, in their order")],
) -> None:
    """Rename the labels of a packed classifier."""
    from xtcq.packing import rename_labels

    before = rename_labels(folder, names)
    typer.echo("\n".join(f"{old} -> {new}" for old, new in zip(before, names, strict=True)))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="folder of a packed model")],
    to: Annotated[str, typer.Option(help="onnx, for onnxruntime and browsers, or gguf, for llama.cpp")],
    output: Annotated[
        Path | None, typer.Option(help="the file to write [default: beside the folder, with its name]")
    ] = None,
    weights: Annotated[str, typer.Option(help="of ONNX, in memory: int8, or matmulnbits")] = "int8",
) -> None:
    """Write a packed model as one file for another runtime."""
    from xtcq.checks import check_choice

    check_choice("--to", to, ("onnx", "gguf"))
    folder = folder.resolve()
    path = output or folder.with_name(f"{folder.name}.{to}")
    if path.is_dir() or path.suffix != f".{to}":
        raise ValueError(f"{path} is no name for the file: give one that ends in .{to} with --output")
    if to == "gguf":
        from xtcq.deploy.gguf_file import export_gguf

        export_gguf(folder, path)
    else:
        from xtcq.deploy.export import export_onnx

        export_onnx(folder, path, weights)
    typer.echo(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="folder of a packed model")],
    text: Annotated[str | None, typer.Option(help="one text to classify")] = None,
    pair: Annotated[str | None, typer.Option(help="its second text, for a model of pairs")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", help="a .csv, .tsv, .txt (each with a header) or .parquet file instead of a text"),
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
    from xtcq.deploy.runtime import Runtime, predict_text

    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    of_file = (output, column, pair_column, encoding)
    if text is not None and source is None and of_file == (None,) * len(of_file):
        typer.echo(predict_text(Runtime(model, weights), text, pair, as_json))
        return
    if text is not None or source is None or pair is not None:
        raise ValueError("give --text (and --pair), or --input, --output and --column (and --pair-column)")
    if output is None or column is None:
        raise ValueError("--input also needs --output, the file to write, and --column, the texts in it")
    from xtcq.deploy.predict import predict_file

    runtime = Runtime(model, weights)
    rows = predict_file(runtime, source, output, column, pair_column, batch_size, encoding=encoding, on_empty=on_empty)
    typer.echo(json.dumps({"rows": rows, "output": str(output)}) if as_json else f"{output}: {rows} rows")


if __name__ == "__main__":
    app()
