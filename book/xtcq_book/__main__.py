"""The book's commands: ``python -m xtcq_book --help``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Judge the papers' claims, and check the edition.")


@app.command()
def claims(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """The ledger: every claim of the papers, its effect there and here, and a verdict by one rule."""
    from xtcq_book.claims.judge import counts, judge_all
    from xtcq_book.claims.table import as_data, to_frame

    try:
        judgements = judge_all()
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps([as_data(judgement) for judgement in judgements], indent=1))
        return
    typer.echo(to_frame(judgements).drop(columns=["claim", "chapter"]).to_string(index=False))
    typer.echo(", ".join(f"{number} {verdict}" for verdict, number in counts(judgements).items() if number))


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="the checkout")] = Path("."),
) -> None:
    """Gates of the published edition: templates, Records, glue keys, published tables, claims."""
    from xtcq_book.gates import check_book

    problems = check_book(root.resolve())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("the published edition matches its templates and Records")


if __name__ == "__main__":
    app()
