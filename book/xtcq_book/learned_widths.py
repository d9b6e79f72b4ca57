"""What learning bit-widths found: its table, its findings, and how noisy the differences are that it learns from."""

from __future__ import annotations

import math
from collections import defaultdict

import pandas as pd
import torch
import transformers
from IPython.display import Markdown
from pandas.io.formats.style import Styler
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from xtcq.adaqat import Replay, narrowed
from xtcq.quantization import QuantConfig, QuantLinear, quantize
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record
from xtcq.study.runs import trained_student
from xtcq.tasks import encode, load_task
from xtcq_book import labels, published
from xtcq_book.findings import bullets
from xtcq_book.labels import MATRICES, Label

# Rows of AdaQAT-BERT's Table 4.
PAPER_ROWS = {
    "cola": "CoLA",
    "mnli": "MNLI-m/mm",
    "mrpc": "MRPC",
    "qnli": "QNLI",
    "qqp": "QQP",
    "rte": "RTE",
    "sst2": "SST-2",
    "stsb": "STS-B",
}

_COLUMNS = ["W", "A", "bits²", "frozen", "oscillations", "steps", "ended", "η", "reach", "paper's regime"]


def table(records: list[Record], by: Label = labels.widths) -> pd.DataFrame:
    """Where the widths came to rest, one row a run.

    Args:
        records: Records of students that learned their widths.
        by: what tells the runs of a task apart, besides their seed.

    Returns:
        Indexed by ``task``, the label and ``seed``: ``W`` and ``A``, means over the layers without regard to their
        sizes, as AdaQAT-BERT prints them; ``bits²``, the mean of Nw * Na over the weights; ``frozen``, the share of
        learned widths that had come to rest, in per cent; ``oscillations``, the sum over all widths; ``steps``, those
        of the exploration; ``ended`` by all widths being frozen or by the budget; ``η`` and ``reach`` of the search;
        ``paper's regime``, whether it was in that, see ``xtcq.study.regime.judged``; reports of before say nothing of
        it, and were not.
    """
    rows = {}
    for record in records:
        found = record.exploration
        frozen = [width for side in found["frozen"].values() for width in side]
        experiment = record.experiment
        rows[labels.task(experiment), by(experiment), experiment.seed] = {
            "W": found["mean_weights"],
            "A": found["mean_activations"],
            "bits²": found["average"],
            "frozen": 100 * sum(frozen) / len(frozen),
            "oscillations": sum(map(sum, found["oscillations"].values())),
            "steps": found["steps"],
            "ended": found["ended"],
            "η": found["eta"],
            "reach": found["reach"],
            "paper's regime": "yes" if found.get("in_regime") else "no",
        }
    index = pd.MultiIndex.from_arrays(list(zip(*rows, strict=True)) or [[]] * 3, names=["task", "widths", "seed"])
    return pd.DataFrame(list(rows.values()), index=index, columns=_COLUMNS)


def show(frame: pd.DataFrame, caption: str) -> Styler:
    """A table for the page, each number with the digits that it is worth.

    Args:
        frame: of `table`.
        caption: what stands above it; names the scale.

    Returns:
        An object that a notebook renders.
    """
    if frame.index.get_level_values("seed").nunique() == 1:
        caption += f" Seed {frame.index[0][-1]}."
        frame = frame.droplevel("seed")
    digits = dict.fromkeys(["W", "A", "bits²", "reach"], "{:.2f}") | dict.fromkeys(["frozen", "η"], "{:.0f}")
    digits |= {"η": "{:.3g}"}
    style = frame.style.set_caption(caption).format(digits)
    return style.set_table_styles([{"selector": "tbody th", "props": "white-space: nowrap"}])


def mean_widths(records: list[Record]) -> dict[str, tuple[float, float]]:
    """Mean over runs of the widths of every layer: name to (bits of the weight, bits of the input)."""
    sums: dict[str, list[list[int]]] = defaultdict(list)
    for record in records:
        for name, pair in record.exploration["widths"].items():
            sums[name].append(pair)
    return {name: tuple(sum(side) / len(pairs) for side in zip(*pairs, strict=True)) for name, pairs in sums.items()}


def bits_per_weight(records: list[Record]) -> pd.DataFrame:
    """BitOPs of students over the number of their weights, in bits squared: 8 for uniform 2-4.

    Args:
        records: Records of recipe ``adaqat``.

    Returns:
        One row a way to come by widths and refinement, one column a task; means over seeds.
    """
    rows = []
    for record in records:
        experiment, found = record.experiment, record.exploration
        weights, activations = map(int, labels.linears(experiment).split("-"))
        row = {"widths": labels.widths(experiment), "distilled": labels.distilled(experiment)}
        rows.append(
            row | {"task": labels.task(experiment), "bits²": found["average"] if found else weights * activations}
        )
    frame = pd.DataFrame(rows, columns=["widths", "distilled", "task", "bits²"])
    return frame.pivot_table("bits²", ["widths", "distilled"], "task", sort=False)


def findings(records: list[Record]) -> Markdown:
    """Which matrices kept their bits, and whether exploration had come to rest.

    Args:
        records: Records of students that learned their widths, others are left out.

    Returns:
        A list of sentences.
    """
    lines = []
    learned = [record for record in records if record.exploration]
    for record in learned:
        found, title = record.exploration, labels.task(record.experiment)
        frozen = [width for side in found["frozen"].values() for width in side]
        line = (
            f"**{title}, {labels.widths(record.experiment)}, {labels.distilled(record.experiment)}**: "
            f"{found['mean_weights']:.2f} bits for weights and {found['mean_activations']:.2f} for activations after "
            f"{found['steps']} steps of exploration; {sum(frozen)} of {len(frozen)} widths were frozen"
        )
        line += "." if found["ended"] == "frozen" else ", and the others stayed where the budget ended them."
        if not found.get("in_regime"):
            line += f" The search was not the paper's: {'; '.join(_departures(record))}."
        lines.append(line)
    by_kind = _by_kind(mean_widths([r for r in learned if r.experiment.adaqat.granularity in ("layer", "kind")]))
    for side, place in (("Weights", 0), ("Activations", 1)) if by_kind else ():
        if len({pair[place] for pair in by_kind.values()}) == 1:
            lines.append(f"{side}: every kind of matrix ended at {next(iter(by_kind.values()))[place]:.2f} bits.")
        else:
            most = max(by_kind, key=lambda kind: by_kind[kind][place])
            least = min(by_kind, key=lambda kind: by_kind[kind][place])
            lines.append(
                f"{side}: {most} keeps most bits ({by_kind[most][place]:.2f} on average over layers and runs), "
                f"{least} fewest ({by_kind[least][place]:.2f})."
            )
    return bullets(lines)


def _departures(record: Record) -> list[str]:
    """What a search lacked of the paper's, as its report says; a report of before names its rate and threshold."""
    found = record.exploration
    old = (
        f"a rate of {found['eta']:.3g} with up to {found['reach']:.2g} bits a step",
        f"a threshold of oscillations of {record.experiment.adaqat.oscillations}",
    )
    return found.get("departures") or list(old)


def _by_kind(widths: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    kinds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, pair in widths.items():
        matrix = name.partition("encoder.layer.")[2].partition(".")[2]
        kinds[MATRICES.get(matrix, "pooler")].append(pair)
    return {kind: tuple(sum(side) / len(pairs) for side in zip(*pairs, strict=True)) for kind, pairs in kinds.items()}


def paper_distillation() -> pd.DataFrame:
    """AdaQAT-BERT's Table 1: what distillation adds to uniform and to learned widths, in points.

    Returns:
        Indexed by ``widths``: exact match and F1 without and with distillation, and the gain of each.
    """
    frame = published.load("adaqat-t1").set_index(["row", "metric"])["value"]
    rows = {}
    for widths in ("Uniform | 2-4-4", "Mixed-precision | 2.08-4-3.93"):
        row = {}
        for metric in ("SQuAD v2.0 EM", "SQuAD v2.0 F1"):
            without, with_it = (frame[f"AdaQAT {how} Distillation | {widths}", metric] for how in ("without", "with"))
            name = metric.removeprefix("SQuAD v2.0 ")
            row |= {f"{name} labels": without, f"{name} distillation": with_it, f"{name} gain": with_it - without}
        rows[widths] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("widths")


def difference_noise(teacher: Experiment, batches: int = 96, precision: str = "4-4-4", seed: int = 0) -> pd.DataFrame:
    """The loss difference of one bit less in one matrix, with the same dropout masks in both passes and with others.

    The matrix is the last of the middle layer; nothing is trained, so that all differences are of one model.

    Args:
        teacher: the experiment whose weights are quantized.
        batches: number of training batches.
        precision: W-E-A notation.
        seed: of the batches and masks.

    Returns:
        Rows ``paired`` and ``unpaired``: ``mean`` and ``deviation`` of the difference over batches, and the
        ``standard error`` of the mean.
    """
    model, tokenizer = trained_student(teacher)
    quantize(model, QuantConfig(precision, "adaqat"))
    task = load_task(teacher.task)
    transformers.set_seed(seed)
    rows = task.train.sample(min(batches * task.spec.batch_size, len(task.train)), random_state=seed)
    loader = DataLoader(
        encode(rows, task.spec, tokenizer), task.spec.batch_size, collate_fn=DataCollatorWithPadding(tokenizer)
    )
    layers = [module for module in model.modules() if isinstance(module, QuantLinear)]
    chosen = [layers[len(layers) // 12 * 6 + 5].weight_quantizer]
    replay, found = Replay(model.train()), {"paired": [], "unpaired": []}
    with torch.no_grad():
        for batch in loader:
            with replay.recording():
                upper = float(model(**batch).loss)
            with narrowed(chosen, "keep"):
                with replay.from_layer(0):
                    found["paired"].append(upper - float(model(**batch).loss))
                found["unpaired"].append(upper - float(model(**batch).loss))
    frame = pd.DataFrame(found).agg(["mean", "std"]).T.rename(columns={"std": "deviation"})
    return frame.assign(**{"standard error": frame["deviation"] / math.sqrt(len(loader))})
