"""What a notebook's parameters cost in minutes, written into the comments of its parameters cell.

    python workflow/minutes.py          compare
    python workflow/minutes.py --write  and put the figures there that are missing or of before

On two cores: steps of a timed training (``benchmarks/results/training_step-cpu.json``: MiniLM-L6, 32 texts of 16 and of
64 tokens), by the tokens of a batch and the layers. On a T4, which nobody here had: the operations of those steps at
half of its 8.1e12 a second in fp32, and at least what a step takes to be launched. Evaluations come on top.
"""

import functools
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from xtcq_book.paper_tables.estimate import forward_operations

from xtcq.study import Experiment, full_teachers, notebook_grid
from xtcq.study.queue import with_all_needed

ROOT = Path(__file__).parents[1]
TIMED = ROOT / "benchmarks" / "results" / "training_step-cpu.json"
# Median tokens of a text, counted with the encoder's tokenizer; of another task half of what it may have.
TOKENS = {"demo-acceptability": 8, "demo-pairs": 19, "demo-similarity": 25, "demo-questions": 38}
TOKENS |= {"mrpc": 53, "stsb": 22, "sst2": 10, "cola": 11, "rte": 54, "squad-articles": 160, "squad2-articles": 157}
T4 = 0.5 * 8.1e12
LAUNCHED = 0.03  # seconds to launch a step's kernels one by one from one slow core
# Two entries of every list parameter: what the second adds is what one more costs.
TASKS = {"demo": ["demo-acceptability", "demo-pairs"], "mini": ["mrpc", "sst2"]}
PAIRS: dict[str, Any] = {
    "tasks": TASKS,
    "plan_tasks": TASKS,
    "baseline_tasks": TASKS,
    "precisions": ["2-2-8", "1-1-8"],
    "plans": ["one-stage", "two-stage"],
    "budgets": {"mini": ["short", "longer"]},
    "learning_rates": [1e-4, 3e-4],
    "main_rates": [1e-4, 3e-4],
    "seeds": [42, 111],
    "depths": {"mini": [3, 2]},
    "ranks": [0, 1],
    "pressures": [1.0, 2.0],
    "methods": ["uniform", "fracbits"],
    "factors": [1.0, 2.0],
    "linears": ["2-4", "4-8"],
    "tables": ["4-32-32", "2-2-2"],
    "selections": ["skip", "top"],
    "baselines": ["ternarybert", "binarybert"],
    "lengths": [0.5, 1.0],
}
FIGURES = re.compile(r" (On 2 cores / a T4|One more): .*")


@functools.cache
def _line(kind: str) -> tuple[float, float]:
    """Seconds of a step without tokens, and for a token: the straight line through the two timed lengths."""
    timed = json.loads(TIMED.read_text(encoding="utf-8"))
    (short, few), (long, many) = [(int(n) * timed["batch_size"], v[kind]) for n, v in timed["tokens"].items()]
    slope = (many["ms (median)"] - few["ms (median)"]) / (long - short) / 1000
    return few["ms (median)"] / 1000 - slope * short, slope


def seconds(run: Experiment) -> tuple[float, float]:
    """Of a run's steps, on two cores and on a T4."""
    spec = run.spec
    tokens = TOKENS.get(run.task, spec.max_length // 2)
    fixed, slope = _line("KD + xtc 1-1-8" if run.teacher else "fine-tuning")
    cores = fixed + slope * spec.batch_size * tokens * run.depth / 6
    passes = 3 * forward_operations(run) + (forward_operations(run.teacher) if run.teacher else 0)
    return run.steps * cores, run.steps * max(LAUNCHED, passes * spec.batch_size * tokens / spec.max_length / T4)


def cost(notebook: Path, **parameters: Any) -> tuple[float, float]:
    """Minutes of all runs of a notebook, with what they need, on two cores and on a T4."""
    grid = notebook_grid(notebook, parameters)
    of_runs = [seconds(run) for run in with_all_needed([*grid, *full_teachers(grid)])]
    cores, card = (sum(one[device] for one in of_runs) / 60 for device in (0, 1))
    return cores, card


def _said(minutes: float) -> str:
    return f"{round(minutes, min(0, 2 - len(str(int(minutes))))):.0f}" if minutes >= 1 else "<1"


def figures(notebook: Path, name: str) -> str:
    """What the comment of one parameter says of its cost; nothing where it has none of its own."""
    if name == "profile":
        told = [(profile, *cost(notebook, profile=profile)) for profile in ("demo", "mini", "paper")]
        each = [f"{p} {_said(cores) if p != 'paper' else 'too many'} / {_said(card)} min" for p, cores, card in told]
        return f" On 2 cores / a T4: {', '.join(each)}."
    told = []
    for profile in ("demo", "mini"):
        pair = PAIRS.get(name, [])
        pair = pair.get(profile, []) if isinstance(pair, dict) else pair
        if name == "budgets" and notebook.stem == "allocators":
            pair = [8.0, 12.0]
        if pair:
            one, two = (cost(notebook, profile=profile, **{name: pair[:n]}) for n in (1, 2))
            cores, card = (max(0.0, b - a) for a, b in zip(one, two, strict=True))
            told.append(f"{profile} {_said(cores)} / {_said(card)} min")
    return f" One more: {', '.join(told)}." if told else ""


def commented(notebook: Path, source: str) -> str:
    """The parameters cell with today's figures."""
    lines = source.splitlines()
    for at in range(0, len(lines), 2):
        name = lines[at + 1].partition(":")[0]
        lines[at] = FIGURES.sub("", lines[at]) + figures(notebook, name)
    return "\n".join(lines)


def agree(found: str, written: str) -> bool:
    """Whether two cells say the same but for figures that are less than a factor of 1.5 apart: these are estimates."""
    numbers = re.compile(r"\b\d+(?= (?:/|min))")
    pairs = zip(numbers.findall(found), numbers.findall(written), strict=False)
    near = all(2 * max(pair) <= 3 * min(pair) for pair in (tuple(map(int, pair)) for pair in pairs))
    return near and numbers.sub("0", found) == numbers.sub("0", written)


def templates() -> list[Path]:
    """Notebooks that have a grid, in which alone a parameter costs something."""
    return [path for path in sorted(ROOT.glob("notebooks/*.ipynb")) if '"grid"' in path.read_text(encoding="utf-8")]


def main(write: Annotated[bool, typer.Option("--write", help="change the notebooks")] = False) -> None:
    """Compare the minutes in the comments of parameters with what is computed."""
    stale = 0
    for path in templates():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        (cell,) = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())]
        found = commented(path, "".join(cell["source"]))
        if not agree(found, "".join(cell["source"])):
            stale += 1
            print(f"{path}: the minutes of its parameters are those of before")
            if write:
                cell["source"] = found.splitlines(keepends=True)
                path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if stale and not write:
        raise SystemExit("error: python workflow/minutes.py --write puts today's there; then execute those pages again")


if __name__ == "__main__":
    typer.run(main)
