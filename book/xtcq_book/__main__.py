"""The book's commands: ``python -m xtcq_book --help``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xtcq.__main__ import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Judge the papers' claims, and check the edition.",
)


@app.command()
def claims(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """The ledger: every claim of the papers, its effect there and here, and a verdict by one rule."""
    from xtcq_book.claims.judge import counts, judge_all
    from xtcq_book.claims.table import as_data, to_frame

    judgements = judge_all()
    if as_json:
        typer.echo(json.dumps([as_data(judgement) for judgement in judgements], indent=1))
        return
    typer.echo(to_frame(judgements).drop(columns=["claim", "chapter"]).to_string(index=False))
    typer.echo(", ".join(f"{number} {verdict}" for verdict, number in counts(judgements).items() if number))


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="the checkout")] = Path("."),
) -> None:
    """Gates of the published edition: templates, their prose, Records, the first picture."""
    from xtcq_book.gates import check_book

    problems = check_book(root.resolve())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo("the published edition matches its templates and Records")


@app.command()
def renew(
    root: Annotated[Path, typer.Argument(help="the checkout")] = Path("."),
) -> None:
    """Write the numbers of the executed pages into the prose of their templates."""
    from xtcq_book import story

    for template in sorted(root.glob("notebooks/*.ipynb")):
        if changed := story.renew(template, root / "book" / "executed" / template.name):
            typer.echo(f"notebooks/{template.name}: {changed} numbers changed. Read its sentences again")


@app.command()
def lead(
    root: Annotated[Path, typer.Argument(help="the checkout")] = Path("."),
) -> None:
    """Draw the first picture of the book, and write the README's lines of result, from today's Records."""
    from xtcq.files import write_atomically
    from xtcq_book import readme
    from xtcq_book.lead import FOLDER, files, students

    runs = students()
    for name, content in files(runs).items():
        write_atomically(root / FOLDER / name, content)
    write_atomically(root / "README.md", readme.renewed((root / "README.md").read_text(encoding="utf-8")))
    typer.echo(f"{len(runs)} students are drawn in {FOLDER}, and README.md has today's results")


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="such as xtc-c2 or adaqat-t5; all of them in brief if left out")] = "",
    rows: Annotated[str, typer.Option(help="only rows that match, with * and ?, anywhere in the printed key")] = "*",
    task: Annotated[list[str] | None, typer.Option(help="only this task's scores; may be repeated")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="runs, steps and GPU-hours; trains nothing")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="what would be trained, in that order")] = False,
    run: Annotated[bool, typer.Option("--run", help="train what has no Record")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="processes side by side on one device")] = 1,
    card: Annotated[str, typer.Option(help="of the estimate")] = "A100",
    shares: Annotated[tuple[float, float], typer.Option(help="of the card's peaks in bf16 and fp32")] = (0.3, 0.7),
) -> None:
    """A table of the papers, row by row: the experiments of BERT-base behind it, and what they take."""
    from xtcq.study import run_all
    from xtcq_book.paper_tables import cells, experiments, listing

    if estimate + dry_run + run > 1:
        raise ValueError("--estimate, --dry-run and --run exclude one another: give one of them")
    if not name:
        if dry_run or run:
            raise ValueError("name the table: python -m xtcq_book table lists them")
        typer.echo(listing.overview(card if estimate else "", shares).to_string())
        typer.echo(listing.rate(card, shares) if estimate else "", nl=estimate)
        return
    found = cells(name, rows, task or ())
    if dry_run or run:
        reasons = dict.fromkeys(f"{cell.row}: {cell.reason}" for cell in found if cell.reason)
        if not experiments(found):
            raise ValueError("there is nothing to run: " + ("; ".join(reasons) or "these cells follow from no runs"))
        typer.echo("".join(f"not run: {reason}\n" for reason in reasons), nl=False)
    if run:
        records = run_all(experiments(found), jobs)
        typer.echo(f"{len(records)} runs have Records")
        return
    lines = listing.bill(found, card, shares) if estimate else (listing.to_train if dry_run else listing.rows)(found)
    for line in lines:
        typer.echo(line)


if __name__ == "__main__":
    app()
