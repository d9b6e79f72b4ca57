"""Sizes: every one that XTC prints beside what it computes to and what the model takes on disk; ours beside scores."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from xtcq.quantization import cost_report
from xtcq_book import published
from xtcq_book.arithmetic import MIB, table, xtc_model
from xtcq_book.chapters.errata import printed_configurations

ENCODER = "bert-base"
LORA_RANK = 1
HALF_UNIT = 0.05
# Bytes of a LoRA weight beside weights of 1 and of 2 bits: the readings that were tried.
_LORA_READINGS = {"2 bytes": (2, 2), "4 bytes": (4, 4), "2 bytes at 1 bit, 4 bytes at 2 bits": (2, 4)}
_EMBEDDED = {"bert-base": "BERT-base", "minilm-l6": "MiniLM-L6"}


def printed_sizes() -> pd.DataFrame:
    """Every size that XTC prints, one row a configuration, recomputed for BERT-base.

    ``rule`` is found by trying, in this order: the nominal size; twice the printed 1-bit size; the ratio printed beside
    it. A size follows a rule if it is that value rounded to one decimal.

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
    full = xtc_model(12, 32)
    rows = []
    for key in sorted(found, key=lambda key: (-key[0], -key[1], key[2])):
        entry, (layers, bits, rank) = found[key], key
        report = xtc_model(*key)
        one_bit = found.get((layers, 1, rank), {}).get("printed") if bits == 2 else None
        entry["tables"] = ", ".join(sorted(entry["tables"], key=lambda place: int(place.removeprefix("C."))))
        rows.append(
            {"layers": layers, "bits": bits, "LoRA rank": rank}
            | entry
            | {
                "nominal": report["nominal_mib"],
                "printed - nominal": entry["printed"] - report["nominal_mib"],
                "rule": _rule(report, entry["printed"], entry.get("printed ratio"), one_bit, full["nominal_mib"]),
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


def _rule(report: dict, printed: float, ratio: float | None, one_bit: float | None, full: float) -> str:
    if abs(printed - report["nominal_mib"]) <= HALF_UNIT:
        return "matrices at their bits"
    if one_bit is not None and abs(printed - 2 * one_bit) < 1e-9:
        return f"twice the printed {one_bit:.1f}"
    if ratio is not None and abs(full / ratio - report["nominal_mib"]) <= HALF_UNIT:
        return f"none; the ratio {ratio:.1f} fits the computed size: a misprint"
    return "none"


def lora_readings(sizes: pd.DataFrame) -> pd.DataFrame:
    """How many printed sizes and ratios of models with LoRA each reading of a LoRA weight's bytes gives.

    ``cost_report`` counts by the last one, which gives the most.

    Args:
        sizes: of `printed_sizes`.

    Returns:
        Indexed by ``a LoRA weight takes``: ``sizes`` and ``ratios`` that are the computed value rounded to one decimal,
        each for 1 and for 2 bits, and ``all`` of them.
    """
    full = xtc_model(12, 32)["nominal_mib"]
    printed = sizes[sizes.index.get_level_values("LoRA rank") > 0].sort_index(level="bits")
    tried = []
    for reading, widths in _LORA_READINGS.items():
        for (layers, bits, rank), row in printed.iterrows():
            plain, whole = xtc_model(layers, bits), xtc_model(layers, bits, rank)
            size = plain["nominal_mib"] + widths[bits - 1] * (whole["parameters"] - plain["parameters"]) / MIB
            for what, cell, found in (
                ("sizes", row["printed"], size),
                ("ratios", row["printed ratio"], full / size),
            ):
                if pd.notna(cell):
                    fits = abs(cell - found) <= HALF_UNIT
                    tried.append((reading, f"{what}, {bits} bit{'s' * (bits > 1)}", fits))
    frame = pd.DataFrame(tried, columns=["a LoRA weight takes", "printed", "fits"])
    counts = frame.groupby(["a LoRA weight takes", "printed"], sort=False)["fits"].agg(_of).unstack(sort=False)
    return counts.assign(all=frame.groupby("a LoRA weight takes")["fits"].agg(_of)).rename_axis(columns=None)


def _of(fits: pd.Series) -> str:
    return f"{fits.sum()} of {len(fits)}"


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
        f"{_of(follows)} printed sizes are every matrix of the encoder at its bits, and LoRA as above.",
        f"{doubled.sum()} are twice the printed 1-bit size, which was rounded before it was doubled: they are off by "
        f"up to {sizes.loc[doubled, 'printed - nominal'].abs().max():.2f} MiB.",
    ]
    for (layers, bits, rank), row in sizes[~follows & ~doubled].iterrows():
        lines.append(
            f"{row.printed:.1f} ({layers} layers, {bits} bits, LoRA rank {rank}) follows no rule: {row.nominal:.1f} is "
            f"computed, {row['rule'].removeprefix('none; ')}."
        )
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
