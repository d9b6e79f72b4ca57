"""Results of the scripts in `benchmarks/`: JSON files, what they hold, and their ratios beside targets.

Everywhere here ``found`` are the results of `read`, ``table`` is that of `comparisons`, and a single ``result`` is one
of ``benchmarks/inference.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown

from xtcq.files import find_checkout
from xtcq_book.drawing import Drawing
from xtcq_book.svg import INK, PALETTE, WIDTH

PYTORCH, INT8, OURS = "PyTorch fp32", "onnxruntime dynamic int8", "xtcq 1-1-8"
_TWO_BITS = "xtcq 2-2-8, matmulnbits"
_SAME_GRAPH = f"{INT8}, xtcq's graph"
_QUARTILES = ("lower quartile", "upper quartile")
# What stands in the names of result files, in words, from the most special to the least.
_WORDS = {
    "inference-cpu-avx2": "Answering, AVX2",
    "inference-cpu-amx": "Answering, AMX",
    "inference-cpu": "Answering, AVX-512",
    "training_step": "A training step",
    "training_peers": "Training",
    "quantizer_kernels": "Quantizers",
    "adaqat_step": "A step of AdaQAT",
    "-cpu": ", CPU",
    "-cuda": ", GPU",
    "-amx": " with AMX",
    "-compiled": ", compiled",
    "-bert-base": ", BERT-base",
    "-minilm-l6": ", MiniLM-L6",
}


class Target(NamedTuple):
    """A bound on one ratio in the rows of result files; both are found by patterns."""

    files: str
    rows: str
    column: str
    bound: float
    at: Literal["least", "most"]


TARGETS = (
    Target("inference-*", "^xtcq 1-1-8$", "times as fast as PyTorch fp32", 3.0, "least"),
    Target("inference-*", "^xtcq 1-1-8$", "times as fast as onnxruntime dynamic int8", 1.0, "least"),
    Target("quantizer_kernels-cuda-compiled", "xtcq", "x bound", 2.0, "most"),
    # A step with XTC's quantizers, against one without any; the other recipes do more.
    Target("training_step-*[!d]", "xtc [^,]*$", "x KD", 1.15, "most"),
    Target("training_step-*-compiled", "xtc [^,]*$", "x KD", 1.10, "most"),
    # In bf16, where the processor multiplies it itself, against distillation in fp32.
    Target("training_step-*-amx", "xtc .*, bf16$", "x KD", 0.60, "most"),
    # A step of a layer's search, against one at fixed bit-widths.
    Target("adaqat_step-cpu", "^layer, ", "x QAT (mean over layers)", 1.45, "most"),
)


@dataclass(frozen=True)
class Result:
    """One file of results: its name without the ending, and what the script wrote."""

    name: str
    data: dict[str, Any]

    @property
    def machine(self) -> str:
        """Device, threads and versions, and whatever else was the same for all rows, on one line."""
        plain = {key: value for key, value in self.data.items() if not isinstance(value, dict | list)}
        device, threads = plain.pop("device", "unknown device"), plain.pop("threads", None)
        versions = {"torch": plain.pop("torch", None)} | self.data.get("versions", {})
        parts = [device, f"{threads} threads" if threads else ""]
        parts += [f"{package} {version}" for package, version in versions.items() if version]
        shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in plain.items()}
        parts += [f"{key} {value}" for key, value in shown.items() if value not in (None, False)]
        return ", ".join(part for part in parts if part)

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Every table in the file: its place, as `"tokens 16"`, and one row an entry."""
        yield from _tables((), {key: value for key, value in self.data.items() if key != "versions"})

    @property
    def notes(self) -> dict[str, str]:
        """What each way is, where the script says so."""
        return self.data.get("what", {})


def results_folder() -> Path:
    """`benchmarks/results` of the checkout around the working directory.

    Raises:
        ValueError: outside a checkout.
    """
    root = find_checkout()
    if root is None:
        raise ValueError(f"{Path.cwd()} is not in a checkout of the project, which has benchmarks/results: go there")
    return root / "benchmarks" / "results"


def read(folder: Path) -> dict[str, Result]:
    """Read the files that there are, by name."""
    files = sorted(folder.glob("*.json"))
    return {path.stem: Result(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in files}


def comparisons(found: dict[str, Result]) -> pd.DataFrame:
    """Every ratio that has a target.

    Returns:
        Indexed by ``benchmark`` (its file) and ``compared``: ``ratio`` (median), its quartiles where there
        are any, ``target``, ``at`` (``"least"`` or ``"most"``) and ``met``.
    """
    held = [
        _held(name, target, f"{way}, {place}, {target.column}", row)
        for target in TARGETS
        for name, result in found.items()
        if fnmatchcase(name, target.files)
        for place, table in result.tables()
        for way, row in table[table.index.str.contains(target.rows)].iterrows()
        if target.column in row
    ]
    if (peers := "training_peers-cpu") in found:
        ways, targets = found[peers].data["ways"], found[peers].data["targets"]
        others = [name for name in ways if name not in ("xtcq", *targets)]
        # The file has a target for some peers by name, and one for the best of the others.
        for label, bound in targets.items():
            if way := label if label in ways else min(others, key=lambda name: ways[name]["x xtcq"], default=None):
                compared = f"times as fast as {label}" + f" ({way})" * (way != label)
                held.append(_held(peers, Target(peers, way, "x xtcq", bound, "least"), compared, ways[way]))
    columns = ["benchmark", "compared", "ratio", *_QUARTILES, "target", "at"]
    table = pd.DataFrame(held, columns=columns).set_index(columns[:2])
    table["met"] = (table["ratio"] >= table["target"]).where(table["at"] == "least", table["ratio"] <= table["target"])
    return table


def _held(name: str, target: Target, compared: str, row: Mapping[str, float]) -> dict[str, Any]:
    # Where there are several ratios in a row, the quartiles of each name what it is a ratio to.
    other = target.column.removeprefix("times as fast as ")
    quartiles = {name: row.get(f"{name}, {other}", row.get(name)) for name in _QUARTILES}
    told = {"benchmark": name, "compared": compared, "ratio": row[target.column]}
    return told | quartiles | {"target": target.bound, "at": target.at}


def by_shape(result: Result, column: str, part: str = "batches") -> dict[str, pd.DataFrame]:
    """One column of all shapes that were timed, side by side.

    Args:
        result: of ``benchmarks/inference.py`` or ``benchmarks/products.py``, whose tables are named as
            ``"bert-base, 1x8, 1 threads"``.
        column: of its tables.
        part: ``"batches"`` or ``"products"``.

    Returns:
        By architecture and threads: one row a runtime, one column a shape.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for place, ways in result.data[part].items():
        arch, shape, threads = place.split(", ")
        values = {way: row[column] for way, row in ways.items()}
        found.setdefault(f"{arch}, {threads}", {})[shape] = values
    return {name: pd.DataFrame(table).rename_axis("runtime") for name, table in found.items()}


def milliseconds(result: Result) -> dict[str, pd.DataFrame]:
    """Median milliseconds and MiB of the file, and in the last rows what products and weights take at least.

    Returns:
        As of ``by_shape``; the last column is ``file (MiB)``.
    """
    tables = by_shape(result, "ms (median)")
    for name, sizes in by_shape(result, "file (MiB)").items():
        arch, threads = name.split(", ")
        table = tables[name]
        for shape in table:
            least = result.data["roofline"]["least ms"][f"{arch}, {shape}, {threads}"]
            for kind, value in least.items():
                table.loc[f"at least, {kind}", shape] = value
        table["file (MiB)"] = sizes.max(axis=1)
    return tables


def few_bits(result: Result) -> pd.DataFrame:
    """Where few bits win, one row an architecture and number of threads.

    Returns:
        The least and the most over the shapes of how many times as fast as onnxruntime's own dynamic int8, and as the
        same int8 in xtcq's graph; how many ``times smaller`` than fp32 the file is; and ``tokens`` of a batch beyond
        which multiplying takes longer than reading a byte a weight.
    """
    rows, sizes = {}, by_shape(result, "file (MiB)")
    for name, table in by_shape(result, f"times as fast as {INT8}").items():
        file, peak = sizes[name].max(axis=1), result.data["roofline"]["peak"][name.rpartition(", ")[2]]
        rows[name] = {
            f"{end} × {what}": ratio.agg(how)
            for what, ratio in (
                ("int8", table.loc[OURS]),
                ("int8 in xtcq's graph", table.loc[OURS] / table.loc[_SAME_GRAPH]),
            )
            for end, how in (("least", "min"), ("most", "max"))
        }
        rows[name] |= {"times smaller": file[PYTORCH] / file[OURS]}
        rows[name] |= {"tokens": peak["int8 (GMAC/s)"] / peak["memory (GB/s)"]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def two_bits(result: Result) -> pd.DataFrame:
    """How many times as fast as with a byte a weight a student answers with two bits a weight in memory.

    The bytes are those of the 1-bit student: a byte takes the same time whatever it holds.

    Returns:
        Ratios of medians: one row an architecture and number of threads, one column a shape that both were timed at.
    """
    tables = by_shape(result, f"times as fast as {INT8}")
    rows = {name: table.loc[_TWO_BITS] / table.loc[OURS] for name, table in tables.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").dropna(axis=1)


def runtimes(result: Result, name: str) -> Drawing:
    """How many times as fast as onnxruntime's own dynamic int8: medians and quartiles, a colour a shape."""
    column = f"times as fast as {INT8}"
    middles, lows, highs = (
        by_shape(result, one) for one in (column, *(f"{quartile}, {INT8}" for quartile in _QUARTILES))
    )
    ways, shapes = list(middles[name].index), list(middles[name])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.36 * len(ways) + 0.9), layout="constrained")
    for number, shape in enumerate(shapes):
        places = [place + (number - (len(shapes) - 1) / 2) / (len(shapes) + 2) for place in range(len(ways))]
        colour = PALETTE[number % len(PALETTE)]
        axes.hlines(places, lows[name][shape], highs[name][shape], color=colour, linewidth=1)
        axes.plot(middles[name][shape], places, "osD^vP"[number % 6], color=colour, markersize=4, label=shape)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(ways)), [fill(way, 18) for way in ways], fontsize=7)
    axes.set_ylim(len(ways) - 0.5, -0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(column, fontsize=8)
    axes.set_title(name, fontsize=8)
    figure.legend(fontsize=7, loc="outside lower right", ncols=min(len(shapes), 3))
    data = middles[name].reset_index()
    return Drawing(figure, data, f"benchmarks/results/{result.name}.json: {result.machine}.")


def verdict(table: pd.DataFrame) -> Markdown:
    """How many targets are met, and by how much each of the others is missed."""
    if table.empty:
        return Markdown("There is nothing to hold against a target yet.")
    said, missed = f"{table['met'].sum()} of {len(table)} targets are met.", table[~table["met"]]
    lines = [
        f"- {benchmark}, {compared}: {row.ratio:.2f}, and at {row['at']} {row.target:g} is wanted"
        for (benchmark, compared), row in missed.iterrows()
    ]
    opened = f"<details><summary>The {len(lines)} that are missed</summary>"
    return Markdown("\n\n".join([said, opened, "\n".join(lines), "</details>"] if lines else [said]))


def against_targets(table: pd.DataFrame) -> Drawing:
    """Ratios on a logarithmic axis: a row a target of a benchmark, with everything that was held against it.

    Dots are ratios, hollow where they miss the target, which is a vertical mark.
    """
    columns = {target.column for target in TARGETS}
    rows = table.reset_index()
    last = rows["compared"].str.rpartition(", ")[2]
    rows["what"] = last.where(last.isin(columns), rows["compared"])
    groups = rows.groupby(["benchmark", "what", "at", "target"], sort=False)
    figure, axes = plt.subplots(layout="constrained", figsize=(WIDTH, 0.48 * len(groups) + 0.6))
    colours = dict(zip(rows["benchmark"].unique(), cycle(PALETTE), strict=False))
    names = []
    for place, ((benchmark, what, at, target), group) in enumerate(groups):
        names.append(f"{fill(_in_words(benchmark), 30)}\n{fill(f'{what}: at {at} {target:g}', 30)}")
        axes.plot(target, place, "|", color=INK, markersize=16, markeredgewidth=1.5)
        for met, some in group.groupby("met"):
            colour = colours[benchmark]
            filled = colour if met else "none"
            axes.plot(some["ratio"], [place] * len(some), "o", color=colour, markeredgewidth=1, markerfacecolor=filled)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("ratio (median)")
    return Drawing(figure, table.reset_index(), "The files of benchmarks/results, each with its machine and versions.")


def _in_words(benchmark: str) -> str:
    for part, words in _WORDS.items():
        benchmark = benchmark.replace(part, words)
    return benchmark


def _tables(place: Sequence[str], data: dict[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    inner = {key: value for key, value in data.items() if isinstance(value, dict)}
    rows = {key: value for key, value in inner.items() if not any(isinstance(one, dict) for one in value.values())}
    if inner and len(rows) == len(inner) and place:
        yield " ".join(place), pd.DataFrame.from_dict(rows, orient="index")
        return
    for key, value in inner.items():
        if key not in rows:
            yield from _tables((*place, key), value)
