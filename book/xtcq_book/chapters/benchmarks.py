"""Results of the scripts in `benchmarks/`: JSON files, what they hold, and their ratios beside targets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure

from xtcq.files import find_checkout

# What the page shows, in this order, and what each is about.
EXPECTED = {
    "inference-cpu": "answers of a packed BERT-base on a processor",
    "training_peers-cpu": "training beside the peers",
    "quantizer_kernels-cpu": "quantizers alone, on a processor",
    "quantizer_kernels-cpu-compiled": "quantizers alone, compiled for a processor",
    "quantizer_kernels-cuda": "quantizers alone, on a GPU",
    "quantizer_kernels-cuda-compiled": "quantizers alone, compiled for a GPU",
    "training_step-cpu": "what quantization adds to a training step",
    "training_step-cpu-compiled": "the same, compiled for a processor",
    "training_step-cuda": "the same on a GPU, where every kernel is launched by itself",
    "training_step-cuda-compiled": "the same, compiled for a GPU",
    "step_parts-cpu": "where the time of a training step goes",
    "side_by_side-cuda": "training steps a second of many processes on one GPU",
    "adaqat_step-cpu": "what learned bit-widths add to a training step",
    "augmentation-cpu": "sentences that augmentation makes",
}
# At least this many times as fast. A training step has its targets in its own file, since its peers are named there.
INFERENCE = {"PyTorch fp32": 3.0, "onnxruntime dynamic int8": 1.0}
# A step with XTC's quantizers takes at most this many times as long as one without any; the other recipes do more.
STEP = {"interpreted": 1.15, "compiled": 1.10}
# A step of a layer's search takes at most this many times as long as one of training at fixed bit-widths.
SEARCH = 1.45
_OURS, _BEST = "xtcq", "best peer, equal padding"
_QUARTILES = ("lower quartile", "upper quartile")


class BenchmarkError(ValueError):
    """A result file that cannot be read; the message names it and the remedy."""


@dataclass(frozen=True)
class Result:
    """One file of results.

    Attributes:
        name: of the file, without its ending.
        data: what the script wrote.
    """

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
        parts += [f"{key} {_short(value)}" for key, value in plain.items() if value not in (None, False)]
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
        BenchmarkError: outside a checkout.
    """
    root = find_checkout()
    if root is None:
        raise BenchmarkError(
            f"{Path.cwd()} is not in a checkout of the project, which has benchmarks/results: go there"
        )
    return root / "benchmarks" / "results"


def read(folder: Path) -> dict[str, Result]:
    """Read what there is of `EXPECTED`, in its order.

    Raises:
        BenchmarkError: a file that is no JSON object.
    """
    found = {}
    for name in EXPECTED:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BenchmarkError(f"{path} is no JSON ({error}): run its script again") from error
        if not isinstance(data, dict):
            raise BenchmarkError(f"{path} holds no JSON object: run its script again")
        found[name] = Result(name, data)
    return found


def missing(found: dict[str, Result]) -> Markdown:
    """Name the results that are not there."""
    lines = [f"- `{name}.json`, {about}, is missing." for name, about in EXPECTED.items() if name not in found]
    return Markdown("\n".join(lines) or "All results are there.")


def comparisons(found: dict[str, Result]) -> pd.DataFrame:
    """Every ratio that has a target.

    Returns:
        One row a comparison, indexed by ``benchmark`` and ``compared``: ``ratio`` (median), its quartiles where there
        are any, ``target``, ``at`` (``"least"`` or ``"most"``) and ``met``.
    """
    rows = []
    if "inference-cpu" in found:
        rows += _inference(found["inference-cpu"].data)
    if "training_peers-cpu" in found:
        rows += _training(found["training_peers-cpu"].data)
    if "quantizer_kernels-cuda-compiled" in found:
        rows += _kernels(found["quantizer_kernels-cuda-compiled"].data)
    for name, result in found.items():
        if name.startswith("training_step"):
            rows += _steps(result)
    if "adaqat_step-cpu" in found:
        rows += _searches(found["adaqat_step-cpu"].data)
    columns = ["benchmark", "compared", "ratio", *_QUARTILES, "target", "at"]
    table = pd.DataFrame(rows, columns=columns).set_index(columns[:2])
    at_most = table["at"] == "most"
    table["met"] = (table["ratio"] >= table["target"]).where(~at_most, table["ratio"] <= table["target"])
    return table


def verdict(table: pd.DataFrame) -> Markdown:
    """How many targets are met, and by how much each of the others is missed."""
    if table.empty:
        return Markdown("There is nothing to hold against a target yet.")
    lines = [f"{table['met'].sum()} of {len(table)} targets are met."]
    for (benchmark, compared), row in table[~table["met"]].iterrows():
        lines.append(f"Missed: {benchmark}, {compared}: {row.ratio:.2f}, and at {row['at']} {row.target:g} is wanted.")
    return Markdown("\n".join(f"- {line}" for line in lines))


def against_targets(table: pd.DataFrame) -> Figure:
    """Ratios on a logarithmic axis, each with its target as a vertical mark; hollow where it is missed.

    Args:
        table: of `comparisons`.

    Returns:
        The figure.
    """
    names = [fill(f"{benchmark}: {compared}", 42) for benchmark, compared in table.index]
    colours = dict(zip(table.index.unique(0), sns.color_palette("colorblind"), strict=False))
    figure, axes = plt.subplots(layout="constrained", figsize=(7.2, 0.45 * len(table) + 1.0))
    for place, ((benchmark, _), row) in enumerate(table.iterrows()):
        colour = colours[benchmark]
        if pd.notna(row[_QUARTILES[0]]):
            axes.plot([row[quartile] for quartile in _QUARTILES], [place, place], color=colour, linewidth=1)
        axes.plot(row["ratio"], place, "o", color=colour, markerfacecolor=colour if row["met"] else "white")
        axes.plot(row["target"], place, "|", color="black", markersize=12, markeredgewidth=1.5)
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("ratio (median)")
    return figure


def _inference(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shape, ways in data["batches"].items():
        for way, row in ways.items():
            if not way.startswith(_OURS) or "," in way:  # other weights in memory are an option, not the default
                continue
            for other, target in INFERENCE.items():
                quartiles = {name: row.get(f"{name}, {other}", row.get(name)) for name in _QUARTILES}
                compared = f"{way.removeprefix(_OURS).strip()} at {shape}, times as fast as {other}"
                yield {"benchmark": "inference", "compared": compared, "ratio": row[f"times as fast as {other}"]} | {
                    **quartiles, "target": target, "at": "least"
                }  # fmt: skip


def _training(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    column = f"x {_OURS}"
    equal = {name: row[column] for name, row in data["ways"].items() if name not in (_OURS, *data["targets"])}
    chosen = {name: name for name in data["targets"] if name in data["ways"]}
    if equal:
        chosen = {_BEST: min(equal, key=equal.get)} | chosen
    for label, name in chosen.items():
        row = data["ways"][name]
        shown = f"times as fast as {label}" + (f" ({name})" if label != name else "")
        yield {"benchmark": "training", "compared": shown, "ratio": row[column], "at": "least"} | {
            **{quartile: row[quartile] for quartile in _QUARTILES}, "target": data["targets"][label]
        }  # fmt: skip


def _kernels(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shape, measured in data["shapes"].items():
        for name, row in measured["functions"].items():
            if _OURS in name:
                compared = f"{name}, {shape}, multiples of the bound"
                row = {"ratio": row["x bound"], "target": data["target"], "at": "most"}
                yield {"benchmark": "quantizers", "compared": compared} | row


def _steps(result: Result) -> Iterator[dict[str, Any]]:
    way = "compiled" if result.data["compiled"] else "interpreted"
    place = "GPU" if "cuda" in result.name else "CPU"
    for tokens, variants in result.data["tokens"].items():
        for name, row in variants.items():
            if "xtc" in name:
                compared = f"{name}, {way} on a {place}, {tokens} tokens, times as long as KD alone"
                spread = {quartile: row[quartile] for quartile in _QUARTILES}
                yield {"benchmark": "step", "compared": compared, "ratio": row["x KD"], "at": "most"} | {
                    **spread, "target": STEP[way]
                }  # fmt: skip


def _searches(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tokens, ways in data["tokens"].items():
        for name, row in ways.items():
            if name.startswith("layer, "):
                compared = f"{name}, {tokens} tokens, times as long as fixed bit-widths"
                row = {"ratio": row["x QAT (mean over layers)"], "target": SEARCH, "at": "most"}
                yield {"benchmark": "search", "compared": compared} | row


def _tables(place: Sequence[str], data: dict[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    inner = {key: value for key, value in data.items() if isinstance(value, dict)}
    rows = {key: value for key, value in inner.items() if not any(isinstance(one, dict) for one in value.values())}
    if inner and len(rows) == len(inner) and place:
        yield " ".join(place), pd.DataFrame.from_dict(rows, orient="index")
        return
    for key, value in inner.items():
        if key not in rows:
            yield from _tables((*place, key), value)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
