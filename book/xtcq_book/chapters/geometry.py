"""How far training moved the weights: full-precision student against its 1-bit counterpart, matrix by matrix.

Everywhere here ``frame`` are the distances and ``shapes`` the histograms of `measure`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import HTML
from scipy.stats import spearmanr
from torch import Tensor, nn

from xtcq.quantization import find_encoder
from xtcq.study.experiment import Experiment
from xtcq.study.runs import run, trained_student
from xtcq.study.students import is_trained
from xtcq_book import drawing, provenance, scores
from xtcq_book.columns import MATRICES, task
from xtcq_book.drawing import Drawing, or_nothing
from xtcq_book.panels import panels

WORDS = "word embedding"
_KINDS = ("latent", "binary", "untrained")
_DISTANCES = ["task", "run", "step", "layer", "matrix", "norm", *_KINDS, "flipped", *(f"relative {k}" for k in _KINDS)]
_SHAPES = ["task", "run", "left", "right", "part", "weights", "share"]


def counterpart(experiment: Experiment) -> Experiment:
    """The full-precision run whose weights a quantized student began with: the other end of every distance.

    Its ``start`` if it has one (XTC's small students), else its teacher (students of full depth).
    """
    return experiment.start or experiment.teacher


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

    Either model holds one BertModel; low-rank terms are not counted.

    Returns:
        One row a matrix: ``layer`` (from 1, and 0 for the word embedding), ``matrix``, ``norm`` of the full-precision
        matrix, the four columns above, and ``relative latent``, ``relative binary`` and ``relative untrained``, which
        are distances over the norm.
    """
    rows = []
    for (layer, name, module), (_, _, origin) in zip(_matrices(student), _matrices(counterpart), strict=True):
        latent, binary = _weights(module)
        start = origin.weight.detach()
        untrained = module.weight_quantizer.quantize(start).dequantize()
        row = {"layer": layer, "matrix": name, "norm": _norm(start)}
        row |= {"latent": _norm(latent - start), "binary": _norm(binary - start), "untrained": _norm(untrained - start)}
        row["flipped"] = 100 * ((latent >= 0) != (start >= 0)).float().mean().item()
        rows.append(row | {f"relative {kind}": row[kind] / row["norm"] for kind in _KINDS})
    return pd.DataFrame(rows)


def histograms(student: nn.Module, edges: np.ndarray) -> pd.DataFrame:
    """How the latent and the binary weights are distributed, the encoder's matrices and the word embedding apart.

    Weights outside of the ascending ``edges`` count in no bin, and in the total all the same.

    Returns:
        One row a bin: ``part`` (``"matrices"`` or ``"word embedding"``), ``weights`` (``"latent"`` or ``"binary"``),
        ``left`` and ``right`` of the bin, and ``share`` of the part's weights in it, in per cent.
    """
    counts: dict[tuple[str, str], np.ndarray] = {}
    sizes: dict[tuple[str, str], int] = {}
    for _, name, module in _matrices(student):
        for kind, weight in zip(("latent", "binary"), _weights(module), strict=True):
            key = (WORDS if name == WORDS else "matrices", kind)
            counts[key] = counts.get(key, 0) + np.histogram(weight.numpy(), edges)[0]
            sizes[key] = sizes.get(key, 0) + weight.numel()
    bins = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    frames = [bins.assign(part=key[0], weights=key[1], share=100 * counts[key] / sizes[key]) for key in counts]
    return pd.concat(frames, ignore_index=True)


def measure(experiments: Iterable[Experiment], label: Callable[[Experiment], str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load quantized students, train those whose weights are not there, and measure each against its counterpart.

    A label tells the runs of a task apart.

    Returns:
        `distances` and `histograms` of all of them, with the columns ``task`` (as printed) and ``run`` (the label);
        distances also with ``step``, the optimizer step of the evaluation whose weights these are.
    """
    apart, shapes, edges = [], [], np.linspace(-0.2, 0.2, 121)
    for experiment in experiments:
        student, _ = trained_student(experiment)
        origin, _ = trained_student(counterpart(experiment))
        names = {"task": task(experiment), "run": label(experiment)}
        apart.append(distances(origin, student).assign(**names, step=_best_step(experiment)))
        shapes.append(histograms(student, edges).assign(**names))
    if not apart:
        numbers = dict.fromkeys(_DISTANCES, float) | {"task": object, "run": object, "matrix": object}
        return pd.DataFrame(columns=_DISTANCES).astype(numbers), pd.DataFrame(columns=_SHAPES)
    return pd.concat(apart, ignore_index=True), pd.concat(shapes, ignore_index=True)


def show(apart: pd.DataFrame, shapes: pd.DataFrame, what: str, scale: str, source: provenance.Source) -> HTML:
    """All that a comparison has to show: means, distances along the layers, histograms, and each run beside the first.

    Args:
        apart: distances of `measure`.
        shapes: histograms of `measure`.
        what: is compared, for a reader who cannot see the figures.
        scale: of the runs, as a caption says it.
        source: of the numbers.
    """
    if apart["run"].nunique() < 2:
        return HTML("<p>Fewer than two of these students have their weights here, so nothing is compared.</p>")
    along = (
        f"Distance from full precision over the layers {what}, six points a layer, one row a task: latent weights on "
        "the left, binary weights on the right with the distance before any training."
    )
    bins = f"Histograms of latent and binary weights {what}: matrices of the layers above, the word embedding below."
    digits = {"ρ depth": 2, "ρ runs": 2, "farther": 0, "matrices": 0}
    beside = "Latent matrices along the layers, and beside the first run."
    shown = (
        drawing.show(distance_panels(apart), along, source),
        scores.show(summary(apart), f"Means over the matrices of a part. {scale}.", source=source),
        scores.show(comparison(apart, shapes), beside, digits=digits, source=source),
        drawing.show(histogram_panels(shapes), bins, source),
    )
    return HTML("".join(part.data for part in shown))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over matrices, one row for each task, part of the model and run.

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


def comparison(frame: pd.DataFrame, shapes: pd.DataFrame) -> pd.DataFrame:
    """Each run along its layers, and beside the first run of its task.

    Returns:
        Indexed by ``task`` and ``run``: the mean latent distance of the ``first layer %`` and the ``last layer %`` of
        the norm, and its rank correlation with depth (``ρ depth``); beside the first run, in how many of the
        ``matrices`` the latent weights lie ``farther`` away, the rank correlation of the two runs over matrices
        (``ρ runs``), and the ``overlap %`` of their histograms of latent weights (NaN for the first run itself).
    """
    rows = []
    for title, of_task in frame[frame["matrix"] != WORDS].groupby("task", sort=False):
        distances_of = of_task.set_index(["layer", "matrix"]).groupby("run", sort=False)["relative latent"]
        (first, base), *_ = distances_of
        for name, latent in distances_of:
            layers = 100 * latent.groupby(level="layer").mean()
            depth = spearmanr(latent.index.get_level_values("layer"), latent).statistic
            row = {"task": title, "run": name, "first layer %": layers.iloc[0], "last layer %": layers.iloc[-1]}
            row |= {"ρ depth": depth, "matrices": len(latent)}
            if name != first:
                row |= {"farther": (latent > base).sum(), "ρ runs": spearmanr(latent, base).statistic}
                row["overlap %"] = _overlap(shapes, title, name, first)
            rows.append(row)
    columns = ["first layer %", "last layer %", "ρ depth", "matrices", "farther", "ρ runs", "overlap %"]
    return pd.DataFrame(rows, columns=["task", "run", *columns]).set_index(["task", "run"])


@or_nothing
def distance_panels(frame: pd.DataFrame) -> Drawing:
    """Distance from full precision along the layers, six points a layer and run.

    Matrices of a layer stand side by side, in the order in which data flow through them: latent weights on the left,
    binary weights on the right with what rounding does before training.
    """
    frame = frame[frame["matrix"] != WORDS]
    offsets = dict(zip(MATRICES.values(), np.linspace(-0.3, 0.3, len(MATRICES)), strict=True))
    start = frame[frame["run"] == frame.groupby("task")["run"].transform("first")].assign(run="without training")
    parts = [(frame, "latent"), (frame, "binary"), (start, "untrained")]
    points = pd.concat(
        part.assign(
            weights=f"{'latent' if kind == 'latent' else 'binary'} weights",
            place=part["layer"] + part["matrix"].map(offsets),
            distance=100 * part[f"relative {kind}"],
        )
        for part, kind in parts
    )
    points = points.sort_values("task", key=lambda tasks: pd.factorize(tasks)[0], kind="stable")
    what = {"xlabel": "layer", "ylabel": "distance (% of the norm)"}
    look = {"kind": sns.scatterplot, "s": 18, "share": None}
    grid = panels(points, ["task", "weights"], "place", "distance", "run", **what, **look)
    for axes in grid.axes.flat:
        axes.set_xticks(range(1, frame["layer"].max() + 1))
    data = points[["task", "run", "weights", "layer", "matrix", "distance"]]
    return Drawing(grid.figure, data)


@or_nothing
def histogram_panels(shapes: pd.DataFrame) -> Drawing:
    """Histograms of the first task's latent and binary weights; matrices of layers above, word embedding below."""
    shapes = shapes[shapes["task"] == shapes["task"].iloc[0]].assign(kind=shapes["weights"] + " weights")
    look = {"drawstyle": "steps-post", "markers": False, "estimator": None, "linewidth": 1, "share": None}
    what = {"xlabel": "value of a weight", "ylabel": "share of weights (%)"}
    grid = panels(shapes, ["part", "kind"], "left", "share", "run", **what, **look)
    for title, axes in grid.axes_dict.items():
        filled = shapes[(shapes["share"] > 0) & shapes["kind"].map(title.endswith)]
        axes.set_xlim(1.1 * filled["left"].min(), 1.1 * filled["right"].max())
        axes.locator_params(axis="x", nbins=5)
    data = shapes[["task", "run", "part", "weights", "left", "right", "share"]]
    return Drawing(grid.figure, data.round(4))  # the file travels with the page


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


def _weights(module: Any) -> tuple[Tensor, Tensor]:
    return module.weight.detach(), module.quantized_weight().dequantize().detach()


def _norm(matrix: Tensor) -> float:
    return torch.linalg.vector_norm(matrix).item()


def _best_step(experiment: Experiment) -> int:
    """Where the weights of a trained student come from: the best evaluation."""
    metric = experiment.spec.primary_metric
    return max(run(experiment).evaluations, key=lambda point: point["metrics"][metric])["step"]
