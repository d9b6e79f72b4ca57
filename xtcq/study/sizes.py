"""Sizes: every one that XTC prints beside what it computes to and what the model takes on disk; ours beside scores."""

from __future__ import annotations

from functools import cache

import pandas as pd
from IPython.display import Markdown

from xtcq.quantization import cost_report
from xtcq.study import published
from xtcq.study.arithmetic import MIB, table
from xtcq.study.recompute import printed_configurations

ENCODER = "bert-base"
LORA_RANK = 1
HALF_UNIT = 0.05
_EMBEDDED = {"bert-base": "BERT-base", "minilm-l6": "MiniLM-L6"}


def printed_sizes() -> pd.DataFrame:
    """Every size that XTC prints, one row a configuration, recomputed for BERT-base.

    ``rule`` is found by trying, in this order: every matrix at its bits (with the bytes of a LoRA weight, where there
    is one); twice the printed 1-bit size; the ratio printed beside it. A size follows a rule if it is that value
    rounded to one decimal.

    Returns:
        Indexed by ``layers``, ``bits`` and ``LoRA rank``: ``tables`` that print it, ``printed`` size and
        ``printed ratio``, ``nominal`` (``cost_report``), ``printed - nominal``, ``rule``, ``packed`` and
        ``packed ratio`` to BERT-base in 32 bits. Sizes are MiB, although the tables say MB.

    Raises:
        ValueError: two tables print different sizes of one configuration.
    """
    found: dict[tuple[int, int, int], dict[str, object]] = {}
    for name, row, layers, bits, lora in printed_configurations():
        cells = table(name)
        printed = cells.value(row, "Size MB")
        place = published.source(name).place.partition(",")[0] if name in published.tables() else row
        entry = found.setdefault((layers, bits, LORA_RANK if lora else 0), {"tables": [], "printed": printed})
        if entry["printed"] != printed:
            raise ValueError(f"{name}, {row}: {printed} MB is printed, and {entry['printed']} in {entry['tables']}")
        entry["tables"] = list(dict.fromkeys([*entry["tables"], place.rpartition("Table ")[2]]))
        if cells.has(row, "Size ratio"):
            entry["printed ratio"] = cells.value(row, "Size ratio")
    full = cost_report(ENCODER, "32-32-32")
    rows = []
    for key in sorted(found, key=lambda key: (-key[0], -key[1], key[2])):
        entry, (layers, bits, rank) = found[key], key
        report = _report(*key)
        one_bit = found.get((layers, 1, rank), {}).get("printed") if bits == 2 else None
        entry["tables"] = ", ".join(sorted(entry["tables"], key=lambda place: int(place.removeprefix("C."))))
        rows.append(
            {"layers": layers, "bits": bits, "LoRA rank": rank}
            | entry
            | {
                "nominal": report["nominal_mib"],
                "printed - nominal": entry["printed"] - report["nominal_mib"],
                "rule": _rule(key, entry["printed"], entry.get("printed ratio"), one_bit, full["nominal_mib"]),
                "packed": report["packed_mib"],
                "packed ratio": full["packed_mib"] / report["packed_mib"],
            }
        )
    columns = ["tables", "printed", "printed ratio", "nominal", "printed - nominal", "rule", "packed", "packed ratio"]
    return pd.DataFrame(rows).set_index(["layers", "bits", "LoRA rank"])[columns]


def embedding_tables() -> pd.DataFrame:
    """Embedding tables of AdaQAT-BERT's Table 5 at their bits, without step sizes.

    Returns:
        Indexed by ``T-K-P``: the ``printed`` size in MB (10^6 bytes), what BERT-base and MiniLM-L6 compute to, and the
        ``printed CR`` (compression ratio to 32 bits) beside BERT-base's.
    """
    cells = table("adaqat-t5")
    full = cost_report(ENCODER, "32-32-32", "adaqat")["embedding_mb"]
    rows = {}
    for row in cells.rows:
        tables = row.rpartition(" | ")[2].replace("FP32", "32-32-32")
        size = {
            name: cost_report(arch, "32-32", "adaqat", embeddings=tables)["embedding_mb"]
            for arch, name in _EMBEDDED.items()
        }
        size["CR"] = full / size[_EMBEDDED[ENCODER]]
        printed = {"printed": cells.value(row, "Embedding size MB"), "printed CR": cells.value(row, "CR")}
        rows.setdefault(tables, printed | size)
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("T-K-P")
    return frame[["printed", *_EMBEDDED.values(), "printed CR", "CR"]].sort_values("printed", ascending=False)


def students(frame: pd.DataFrame) -> pd.DataFrame:
    """Our models, one row for each size and length of training: the best of their plans and learning rates.

    Args:
        frame: of ``expense.to_frame``.

    Returns:
        Indexed by ``task``, ``layers``, ``W-E-A``, ``recipe``, ``LoRA rank`` and ``steps``: ``nominal MiB``,
        ``packed MiB``, ``best`` (mean over seeds of the best plan, rate, teacher and augmentation), ``of``
        (configurations it was chosen from) and ``minus teacher`` (the fine-tuned model of full depth; NaN if there is
        no Record of it). Smallest models first.
    """
    key = ["task", "depth", "W-E-A", "recipe", "LoRA rank", "steps"]
    tried = [*key, "plan", "learning rate", "teacher", "augmentation"]
    means = frame.groupby(tried, sort=False)[["nominal MiB", "packed MiB", "score"]].mean().reset_index()
    grouped = means.groupby(key, sort=False)
    best = means.loc[grouped["score"].idxmax()].set_index(key)
    best["of"] = grouped.size()
    whole = (frame["plan"] == "finetune") & (frame["layers"] == "all") & (frame["W-E-A"] == "32-32-32")
    levels = frame[whole].groupby("task")["score"].mean()
    best["minus teacher"] = best["score"] - best.index.get_level_values("task").map(levels).astype(float)
    order = {task: place for place, task in enumerate(frame["task"].unique())}
    best = best.assign(place=best.index.get_level_values("task").map(order)).sort_values(["place", "packed MiB"])
    best = best.rename_axis(index={"depth": "layers"}).rename(columns={"score": "best"})
    return best[["nominal MiB", "packed MiB", "best", "of", "minus teacher"]]


@cache
def _report(layers: int, bits: int, rank: int) -> dict[str, float | int]:
    activations = 32 if bits == 32 else 8
    return cost_report(ENCODER, f"{bits}-{bits}-{activations}", layers=layers, lora_rank=rank)


def _rule(key: tuple[int, int, int], printed: float, ratio: float | None, one_bit: float | None, full: float) -> str:
    layers, bits, rank = key
    matrices = _report(layers, bits, 0)
    if rank == 0 and abs(printed - matrices["nominal_mib"]) <= HALF_UNIT:
        return "matrices at their bits"
    if rank:
        weights = _report(*key)["parameters"] - matrices["parameters"]
        for width in (2, 4):
            if abs(printed - matrices["nominal_mib"] - width * weights / MIB) <= HALF_UNIT:
                return f"matrices at their bits, LoRA in {8 * width} bits"
    if one_bit is not None and abs(printed - 2 * one_bit) < 1e-9:
        return f"twice the printed {one_bit:.1f}"
    if ratio is not None and abs(full / ratio - matrices["nominal_mib"]) <= HALF_UNIT:
        return f"none; the ratio {ratio:.1f} fits the computed size: a misprint"
    return "none"


def findings(sizes: pd.DataFrame) -> Markdown:
    """How many printed sizes are what the matrices take, which are not, and what a file on disk would take.

    Args:
        sizes: of `printed_sizes`.

    Returns:
        A list of sentences.
    """
    follows = sizes["rule"].str.startswith("matrices")
    doubled = sizes["rule"].str.startswith("twice")
    low = sizes[sizes.index.get_level_values("bits") < 32]
    farthest = (low["packed"] - low["printed"]).idxmax()
    smallest = sizes["packed"].idxmin()
    lines = [
        f"{follows.sum()} of {len(sizes)} printed sizes are every matrix of the encoder at its bits, in MiB.",
        f"{doubled.sum()} are twice the printed 1-bit size, which was rounded before it was doubled: they are off by "
        f"up to {sizes.loc[doubled, 'printed - nominal'].abs().max():.2f} MiB.",
    ]
    for (layers, bits, rank), row in sizes[~follows & ~doubled].iterrows():
        lines.append(
            f"{row.printed:.1f} ({layers} layers, {bits} bits, LoRA rank {rank}) follows no rule: {row.nominal:.1f} is "
            f"computed, {row['rule'].removeprefix('none; ')}."
        )
    for rule in (rule for rule in sizes["rule"].unique() if "LoRA" in rule):
        named = [
            f"{layers} layers at {bits} bit{'s' * (bits > 1)}" for layers, bits, _ in sizes.index[sizes["rule"] == rule]
        ]
        lines.append(f"{rule.partition(', ')[2]} fits {', '.join(named)}.")
    lines.append(
        f"On disk the quantized models are {(low['packed'] / low['nominal']).min():.2f} to "
        f"{(low['packed'] / low['nominal']).max():.2f} times their nominal size. The largest gap is {farthest[0]} "
        f"layers at {farthest[1]} bit: {low.loc[farthest, 'packed']:.1f} MiB where "
        f"{low.loc[farthest, 'printed']:.1f} is printed."
    )
    lines.append(
        f"The smallest, {smallest[0]} layers at {smallest[1]} bit, takes {sizes.loc[smallest, 'packed']:.1f} MiB, "
        f"{sizes.loc[smallest, 'packed ratio']:.0f} times less than BERT-base, where "
        f"{sizes.loc[smallest, 'printed ratio']:.1f} is printed."
    )
    return Markdown("\n".join(f"- {line}" for line in lines))
