"""How far training moved the weights: full-precision student against its 1-bit counterpart, matrix by matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from scipy.stats import spearmanr
from torch import Tensor, nn

from xtcq.quantization import find_encoder
from xtcq.study.experiment import Experiment
from xtcq.study.runs import run, trained_student
from xtcq.study.students import is_trained
from xtcq.tasks import task_spec
from xtcq_book import labels
from xtcq_book.findings import bullets
from xtcq_book.labels import MATRICES, Label, as_text

WORDS = "word embedding"
_KINDS = ("latent", "binary", "untrained")
_DISTANCES = ["task", "run", "step", "layer", "matrix", "norm", *_KINDS, "flipped", *(f"relative {k}" for k in _KINDS)]
_SHAPES = ["task", "run", "left", "right", "part", "weights", "share"]


def counterpart(experiment: Experiment) -> Experiment:
    """The full-precision run whose weights a quantized student began with: the other end of every distance.

    Args:
        experiment: of a quantized student.

    Returns:
        Its ``start`` if it has one (XTC's small students), else its teacher (students of full depth).

    Raises:
        ValueError: it began with pre-trained weights, or with a run whose matrices are others or are quantized.
    """
    origin = experiment.start or experiment.teacher
    if origin is None or origin.quantized or origin.kept != experiment.kept or origin.model != experiment.model:
        raise ValueError(
            f"{experiment} did not begin with the full-precision weights of a run of its own layers: compare a student "
            "of full depth, or one that starts from a full-precision student."
        )
    return origin


def has_weights(experiment: Experiment) -> bool:
    """Whether the weights of a student and of its counterpart are on this machine, so that nothing must be trained."""
    return is_trained(experiment) and is_trained(counterpart(experiment))


def distances(counterpart: nn.Module, student: nn.Module) -> pd.DataFrame:
    r"""Frobenius distances between matrices of the same place, XTC's "l2 norm distance" of Figures 5 and 6.

    With :math:`W_0` the matrix in full precision, :math:`W` the latent weight behind the 1-bit one and
    :math:`\hat W = Q(W)` the 1-bit weight that the student computes with:

    * ``latent`` is :math:`\lVert W - W_0 \rVert`, how far training went;
    * ``binary`` is :math:`\lVert \hat W - W_0 \rVert`, how far the two models are apart;
    * ``untrained`` is :math:`\lVert Q(W_0) - W_0 \rVert`, what rounding does before any training;
    * ``flipped`` is the share of weights whose sign is another one, in per cent: a code that is unlike its start.

    Args:
        counterpart: the full-precision model; holds one BertModel.
        student: the quantized model with as many layers; holds one BertModel. Low-rank terms are not counted.

    Returns:
        One row a matrix: ``layer`` (from 1, and 0 for the word embedding), ``matrix``, ``norm`` of the full-precision
        matrix, the four columns above, and ``relative latent``, ``relative binary`` and ``relative untrained``, which
        are distances over the norm.

    Raises:
        ValueError: the depths differ, or a matrix of the student is not quantized.
    """
    ours, theirs = list(_matrices(student)), list(_matrices(counterpart))
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} matrices stand against {len(theirs)}: compare two models of one depth.")
    rows = []
    for (layer, name, module), (_, _, origin) in zip(ours, theirs, strict=True):
        latent, binary = _weights(module, f"{name} of layer {layer}")
        start = origin.weight.detach()
        untrained = module.weight_quantizer.quantize(start).dequantize()
        row = {"layer": layer, "matrix": name, "norm": _norm(start)}
        row |= {"latent": _norm(latent - start), "binary": _norm(binary - start), "untrained": _norm(untrained - start)}
        row["flipped"] = 100 * ((latent >= 0) != (start >= 0)).float().mean().item()
        rows.append(row | {f"relative {kind}": row[kind] / row["norm"] for kind in _KINDS})
    return pd.DataFrame(rows)


def histograms(student: nn.Module, edges: np.ndarray) -> pd.DataFrame:
    """How the latent and the binary weights are distributed, the encoder's matrices and the word embedding apart.

    Args:
        student: the quantized model; holds one BertModel.
        edges: of the bins, ascending. Weights outside count in no bin, and in the total all the same.

    Returns:
        One row a bin: ``part`` (``"matrices"`` or ``"word embedding"``), ``weights`` (``"latent"`` or ``"binary"``),
        ``left`` and ``right`` of the bin, and ``share`` of the part's weights in it, in per cent.

    Raises:
        ValueError: a matrix of the student is not quantized.
    """
    counts: dict[tuple[str, str], np.ndarray] = {}
    sizes: dict[tuple[str, str], int] = {}
    for layer, name, module in _matrices(student):
        for kind, weight in zip(("latent", "binary"), _weights(module, f"{name} of layer {layer}"), strict=True):
            key = (WORDS if name == WORDS else "matrices", kind)
            counts[key] = counts.get(key, 0) + np.histogram(weight.numpy(), edges)[0]
            sizes[key] = sizes.get(key, 0) + weight.numel()
    bins = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    frames = [bins.assign(part=key[0], weights=key[1], share=100 * counts[key] / sizes[key]) for key in counts]
    return pd.concat(frames, ignore_index=True)


def measure(
    experiments: Iterable[Experiment], label: Label, limit: float = 0.2, bins: int = 160
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load quantized students, train those whose weights are not there, and measure each against its counterpart.

    Args:
        experiments: of quantized students.
        label: what tells the runs of a task apart.
        limit: histograms reach from ``-limit`` to ``limit``.
        bins: number of bins.

    Returns:
        `distances` and `histograms` of all of them, with the columns ``task`` (as printed) and ``run`` (the label) in
        front; distances also with ``step``, the optimizer step of the evaluation whose weights these are.

    Raises:
        ValueError: what `counterpart`, `distances` and `histograms` raise.
    """
    apart, shapes = [], []
    for experiment in experiments:
        student, _ = trained_student(experiment)
        origin, _ = trained_student(counterpart(experiment))
        names = {"task": labels.task(experiment), "run": as_text(label(experiment))}
        apart.append(pd.DataFrame(names, index=[0]).merge(distances(origin, student), how="cross"))
        apart[-1].insert(2, "step", _best_step(experiment))
        bars = histograms(student, np.linspace(-limit, limit, bins + 1))
        shapes.append(pd.DataFrame(names, index=[0]).merge(bars, how="cross"))
    if not apart:
        numbers = dict.fromkeys(_DISTANCES, float) | {"task": object, "run": object, "matrix": object}
        return pd.DataFrame(columns=_DISTANCES).astype(numbers), pd.DataFrame(columns=_SHAPES)
    return pd.concat(apart, ignore_index=True), pd.concat(shapes, ignore_index=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over matrices, one row for each task, part of the model and run.

    Args:
        frame: distances of `measure`.

    Returns:
        ``step``; the means of ``norm``, ``latent``, ``binary`` and ``untrained``; the same three distances in per cent
        of the norm (``latent %`` and so on) and ``flipped %``.
    """
    part = frame["matrix"].where(frame["matrix"] == WORDS, "matrices")
    order = frame.assign(part=part, place=pd.factorize(frame["task"])[0]).sort_values(["place", "part"], kind="stable")
    means = order.groupby(["task", "part", "run"], sort=False).mean(numeric_only=True)
    absolute = means[["norm", *_KINDS]]
    relative = 100 * means[[f"relative {kind}" for kind in _KINDS]].set_axis([f"{kind} %" for kind in _KINDS], axis=1)
    step, flipped = means["step"].astype(int), means["flipped"].rename("flipped %")
    return pd.concat([step, absolute, relative, flipped], axis=1)


def findings(frame: pd.DataFrame, shapes: pd.DataFrame) -> Markdown:
    """Which of two runs is farther from its full-precision counterpart, how far in which layers, and what it changed.

    Args:
        frame: distances of `measure`; the first run of a task is what its others are compared with.
        shapes: histograms of `measure`.

    Returns:
        Sentences on each task.
    """
    lines = []
    for task, of_task in frame.groupby("task", sort=False):
        runs = {name: group.set_index(["layer", "matrix"]) for name, group in of_task.groupby("run", sort=False)}
        (first, base), *others = runs.items()
        for name, other in others:
            overlap = f"The histograms of the latent matrices overlap by {_overlap(shapes, task, name, first):.1f} %."
            lines.append(f"**{task}, {name} beside {first}**: {_compared(other, base)} {overlap}")
        lines += [f"{task}, {name}, along the layers: {_along_layers(run)}" for name, run in runs.items()]
    return bullets(lines, "No student was measured.")


def _compared(run: pd.DataFrame, base: pd.DataFrame) -> str:
    inner, base_inner = run.drop(index=0, level="layer"), base.drop(index=0, level="layer")
    moved = {kind: [100 * each[f"relative {kind}"].mean() for each in (inner, base_inner)] for kind in _KINDS}
    farther = (inner["relative latent"] > base_inner["relative latent"]).sum()
    rank = spearmanr(inner["relative latent"], base_inner["relative latent"]).statistic
    start = moved["untrained"][1]
    flipped = [group["flipped"].mean() for group in (inner, base_inner)]
    words = [group.loc[0, "flipped"].item() for group in (run, base)]
    return (
        f"its latent matrices lie {moved['latent'][0]:.1f} % of the norm from full precision, against "
        f"{moved['latent'][1]:.1f} %, and farther in {farther} of {len(inner)} matrices (rank correlation of the two "
        f"runs over matrices {rank:+.2f}). Its binary matrices lie {moved['binary'][0]:.1f} % from full precision, "
        f"against {moved['binary'][1]:.1f} %; rounding alone puts them at {start:.1f} %, so training added "
        f"{moved['binary'][0] - start:.1f} and {moved['binary'][1] - start:.1f} points. Training turned "
        f"{flipped[0]:.1f} % of the matrices' signs, against {flipped[1]:.1f} %, and {words[0]:.1f} % of the word "
        f"embedding's, against {words[1]:.1f} %."
    )


def _along_layers(run: pd.DataFrame) -> str:
    inner = run.drop(index=0, level="layer").reset_index()
    of_layer = 100 * inner.groupby("layer")["relative latent"].mean()
    rank = spearmanr(inner["layer"], inner["relative latent"]).statistic
    return (
        f"the mean latent distance is {of_layer.iloc[0]:.1f} % of the norm in the first layer, {of_layer.iloc[-1]:.1f} "
        f"% in the last, largest in layer {of_layer.idxmax()} and smallest in layer {of_layer.idxmin()} (rank "
        f"correlation of layer and distance {rank:+.2f})."
    )


def _overlap(shapes: pd.DataFrame, task: str, name: str, other: str) -> float:
    """Share of one histogram of latent weights that is under the other as well, in per cent."""
    chosen = shapes[(shapes["task"] == task) & (shapes["part"] == "matrices") & (shapes["weights"] == "latent")]
    both = chosen.pivot(index="left", columns="run", values="share")[[name, other]]
    return 100 * both.min(axis=1).sum() / both.sum().max()


def _matrices(model: nn.Module) -> Iterator[tuple[int, str, Any]]:
    _, encoder = find_encoder(model)
    for layer, block in enumerate(encoder.encoder.layer, start=1):
        for path, name in MATRICES.items():
            yield layer, name, block.get_submodule(path)
    yield 0, WORDS, encoder.embeddings.word_embeddings


def _weights(module: Any, where: str) -> tuple[Tensor, Tensor]:
    if getattr(module, "weight_quantizer", None) is None:
        raise ValueError(f"{where} is not quantized: give the 1-bit student, and its full-precision counterpart first.")
    return module.weight.detach(), module.quantized_weight().dequantize().detach()


def _norm(matrix: Tensor) -> float:
    return torch.linalg.vector_norm(matrix).item()


def _best_step(experiment: Experiment) -> int:
    """Where the weights of a trained student come from: the best evaluation."""
    metric = task_spec(experiment.task).primary_metric
    return max(run(experiment).evaluations, key=lambda point: point["metrics"][metric])["step"]
